package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxLine is the longest line that can be valid; a longer one is counted as bad.
const maxLine = 1 << 20

// source is where lines come from. open may be called again and gives the same
// bytes each time, unless the source is live.
type source struct {
	name        string
	fingerprint string
	live        bool
	open        func() (io.ReadCloser, error)
}

// openSource checks the whole input before anything is written anywhere: that
// it exists, holds text, and is not cut within a gzip stream.
func openSource(o options, stdin io.Reader) (source, error) {
	switch {
	case o.input == "":
		return generated(o), nil
	case o.input == "-" && !o.once:
		return source{name: "standard input", fingerprint: "stdin", live: true, open: func() (io.ReadCloser, error) {
			return io.NopCloser(stdin), nil
		}}, nil
	case o.input == "-":
		text, err := io.ReadAll(stdin)
		if err != nil {
			return source{}, fmt.Errorf("standard input: %w", err)
		}
		return checked("standard input", func() (io.ReadCloser, error) {
			return unpacked(io.NopCloser(bytes.NewReader(text)))
		})
	}
	return checked(o.input, func() (io.ReadCloser, error) {
		f, err := os.Open(o.input) //nolint:gosec // the user names the file to read
		if err != nil {
			return nil, err
		}
		return unpacked(f)
	})
}

// unpacked reads through gzip when the input starts like a gzip stream.
func unpacked(in io.ReadCloser) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 64<<10)
	magic, err := buffered.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, in.Close())
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return readCloser{buffered, in}, nil
	}
	unzip, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, errors.Join(errGzip(err), in.Close())
	}
	return readCloser{gzipReader{unzip}, in}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// gzipReader says what is wrong with a gzip stream in words for people.
type gzipReader struct{ in io.Reader }

func (g gzipReader) Read(p []byte) (int, error) {
	n, err := g.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errGzip(err)
	}
	return n, err
}

func errGzip(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("the gzip stream is cut off; fetch the file again")
	}
	return fmt.Errorf("the gzip stream is damaged: %w", err)
}

// checked reads the input once from end to end and takes its fingerprint.
func checked(name string, open func() (io.ReadCloser, error)) (source, error) {
	in, err := open()
	if err != nil {
		return source{}, fmt.Errorf("-input %s: %w", name, err)
	}
	defer func() { _ = in.Close() }()
	sum := sha256.New()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(io.TeeReader(in, sum), head)
	if err == nil {
		_, err = io.Copy(sum, in)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return source{}, fmt.Errorf("-input %s: %w", name, err)
	}
	if n == 0 {
		return source{}, fmt.Errorf("-input %s: it is empty; name an access log", name)
	}
	if bytes.IndexByte(head[:n], 0) >= 0 && !anyValid(head[:n]) {
		return source{}, fmt.Errorf("-input %s: it is binary; name an access log in the common or combined format", name)
	}
	return source{name: name, fingerprint: hex.EncodeToString(sum.Sum(nil)), open: open}, nil
}

func anyValid(text []byte) bool {
	for line := range bytes.Lines(text) {
		if _, ok := parseLine(trimEnd(line)); ok {
			return true
		}
	}
	return false
}

func trimEnd(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}

// eachLine calls f with every line, numbered from 0, without its end. A line
// longer than maxLine is given as nil.
func eachLine(in io.Reader, f func(number int64, line []byte) error) error {
	lines := bufio.NewReaderSize(in, maxLine)
	for number := int64(0); ; number++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = lines.ReadSlice('\n')
			}
			line = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		last := err != nil
		if last && len(line) == 0 {
			return nil
		}
		if err := f(number, trimEnd(line)); err != nil || last {
			return err
		}
	}
}
