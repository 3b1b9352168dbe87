// Package goka lets applications written with github.com/lovoo/goka and Weir's
// streams share codecs, partitioning and state engines. Goka itself runs on Weir
// unmodified; nothing here is needed for that.
package goka
