// Package app runs a topology as an application: its configuration, its folder,
// its workers and what goes on beside them. Package streams gives it to users.
package app
