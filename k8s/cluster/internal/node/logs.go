package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// logBytesMax is how large a container's log grows before it becomes the old one, of which there is one.
	logBytesMax = 16 << 20
	// logLineMax is how long a line may be before it is split.
	logLineMax = 64 << 10
)

// logFile is the log of one container: a line of it is a time, a space and what the container wrote.
type logFile struct {
	path  string
	mutex sync.Mutex
	file  *os.File
	size  int64
}

func (l *logFile) write(line []byte) error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	stamped := time.Now().UTC().AppendFormat(make([]byte, 0, len(line)+40), logTime)
	stamped = append(append(append(stamped, ' '), line...), '\n')
	written, err := l.file.Write(stamped)
	l.size += int64(written)
	if err != nil || l.size < logBytesMax {
		return err
	}
	l.file.Close()
	l.file = nil
	return os.Rename(l.path, l.path+".old")
}

// logTime has a fixed width, unlike RFC3339Nano, which it is otherwise.
const logTime = "2006-01-02T15:04:05.000000000Z07:00"

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.size = file, info.Size()
	return nil
}

func (l *logFile) close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// copyFrom keeps what a container writes until all of its processes closed the stream.
func (l *logFile) copyFrom(stream io.ReadCloser) {
	defer stream.Close()
	reader := bufio.NewReaderSize(stream, logLineMax)
	for {
		line, err := reader.ReadSlice('\n')
		if len(line) > 0 && line[len(line)-1] == '\n' {
			line = line[:len(line)-1]
		} else if err == io.EOF && len(line) == 0 {
			return
		}
		if failure := l.write(line); failure != nil {
			fmt.Fprintf(os.Stderr, "the log %s: %v\n", l.path, failure)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
