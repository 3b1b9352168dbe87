package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Class returns the type of the error at the end of a chain, which is where it
// began: "*json.SyntaxError". Where the last one is plain text it is the last that
// has a type of its own, if one does. Of several causes the last one counts.
func Class(err error) string {
	class := ""
	for ; err != nil; err = cause(err) {
		name := fmt.Sprintf("%T", err)
		switch name {
		case "*errors.errorString", "*errors.joinError", "*fmt.wrapError", "*fmt.wrapErrors":
			if class != "" {
				continue
			}
		}
		class = name
	}
	return class
}

// cause returns what an error wraps, nil for nothing.
func cause(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		causes := many.Unwrap()
		if len(causes) == 0 {
			return nil
		}
		return causes[len(causes)-1]
	}
	return errors.Unwrap(err)
}

// Fingerprint is a short hash of what failures of one kind share: the class, the
// message without its numbers and quoted texts, and the frame that failed.
func Fingerprint(e Error) string {
	sum := sha256.Sum256([]byte(e.Class + "\n" + normal(e.Message) + "\n" + topFrame(e.Stack)))
	return hex.EncodeToString(sum[:8])
}

// normal blanks what differs between two messages of one kind: quoted texts, and
// words with a digit in them.
func normal(message string) string {
	var b strings.Builder
	for i := 0; i < len(message); {
		end := i + 1
		switch c := message[i]; {
		case c == '"' || c == '`' || c == '\'':
			closing := strings.IndexByte(message[end:], c)
			if closing < 0 {
				b.WriteByte(c)
				break
			}
			end += closing + 1
			b.WriteString(`""`)
		case wordByte(c):
			for end < len(message) && (wordByte(message[end]) || message[end] == '\'') { // "can't" opens no quote
				end++
			}
			if word := message[i:end]; strings.ContainsAny(word, "0123456789") {
				b.WriteByte('0')
			} else {
				b.WriteString(word)
			}
		default:
			b.WriteByte(c)
		}
		i = end
	}
	return b.String()
}

func wordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// topFrame returns the function that failed: in a stack of Go the one that
// panicked, in one of Java the first.
func topFrame(stack string) string {
	if _, after, ok := strings.Cut(stack, "\npanic("); ok { // above it is who printed the stack
		if _, frames, ok := strings.Cut(after, "\n\t"); ok {
			stack = frames[strings.IndexByte(frames, '\n')+1:]
		}
	}
	for line := range strings.Lines(stack) {
		line = strings.TrimRight(line, "\r\n")
		if frame, ok := strings.CutPrefix(strings.TrimSpace(line), "at "); ok {
			name, _, _ := strings.Cut(frame, "(")
			return name
		}
		if strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "runtime.") {
			continue
		}
		if i := strings.LastIndexByte(line, '('); i > 0 {
			return line[:i]
		}
	}
	return ""
}
