package state

import (
	"bytes"
	"io"
	"os"
)

// tailBytesMax bounds what Tail reads of a file.
const tailBytesMax = 64 << 10

// Tail gives the last lines of a file.
func Tail(path string, lines int) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	if _, err := file.Seek(max(0, info.Size()-tailBytesMax), io.SeekStart); err != nil {
		return "", err
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return "", err
	}
	content = bytes.TrimRight(content, "\n")
	start := len(content)
	for range lines {
		start = bytes.LastIndexByte(content[:start], '\n')
		if start < 0 {
			break
		}
	}
	return string(content[start+1:]), nil
}
