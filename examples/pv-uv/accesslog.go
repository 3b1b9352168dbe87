package main

import (
	"bytes"
	"time"
)

// view is one request of a log line.
type view struct {
	visitor, page string
	at            time.Time
}

// parseLine reads one line of Apache's or nginx's common or combined format:
//
//	address ident user [17/May/2015:10:05:03 +0000] "GET /path?q HTTP/1.1" 200 123 ...
//
// A quoted backslash escapes the byte after it. The protocol may be missing, as
// HTTP/0.9 has none. Whatever follows the size is not looked at.
func parseLine(line []byte) (view, bool) {
	var v view
	address, rest := field(line)
	ident, rest := field(rest)
	user, rest := field(rest)
	if len(address) == 0 || len(ident) == 0 || len(user) == 0 {
		return v, false
	}
	at, rest, ok := bracketed(rest)
	if !ok {
		return v, false
	}
	request, rest, ok := quoted(rest)
	if !ok || !result(rest) {
		return v, false
	}
	target, ok := requestTarget(request)
	if !ok {
		return v, false
	}
	path, _, _ := bytes.Cut(target, []byte("?"))
	v = view{visitor: string(address), page: string(path), at: at}
	if v.page == total {
		v.page = "/*" // OPTIONS *: the star alone stands for the whole site
	}
	return v, true
}

// field cuts the bytes before the next space.
func field(b []byte) (word, rest []byte) {
	word, rest, _ = bytes.Cut(b, []byte(" "))
	return word, rest
}

// bracketed reads "[time] ".
func bracketed(b []byte) (at time.Time, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '[' {
		return at, nil, false
	}
	text, rest, ok := bytes.Cut(b[1:], []byte("] "))
	if !ok {
		return at, nil, false
	}
	at, err := time.Parse("02/Jan/2006:15:04:05 -0700", string(text))
	return at, rest, err == nil
}

// quoted reads a quoted text and the space behind it; escapes stay as they are.
func quoted(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			if i+1 >= len(b) || b[i+1] != ' ' {
				return nil, nil, false
			}
			return b[1:i], b[i+2:], true
		}
	}
	return nil, nil, false
}

// requestTarget returns the target of "METHOD target" or "METHOD target PROTOCOL".
func requestTarget(request []byte) ([]byte, bool) {
	parts := bytes.Split(request, []byte(" "))
	if len(parts) != 2 && len(parts) != 3 {
		return nil, false
	}
	for _, part := range parts {
		if len(part) == 0 {
			return nil, false
		}
	}
	return parts[1], true
}

// result says that b starts with a status of three digits and a size, digits or "-".
func result(b []byte) bool {
	status, rest := field(b)
	size, _ := field(rest)
	return len(status) == 3 && digits(status) && (digits(size) || string(size) == "-")
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}
