package outcome

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// root is the Go test whose subtests are the tests of the suite.
const root = "TestConformance"

// lineMax bounds one event; the suite prints whole objects on one line.
const lineMax = 16 << 20

// event is one line of `go tool test2json`.
type event struct {
	Action  string
	Test    string
	Output  string
	Elapsed float64
}

// Times is how long each test took that ran, and the whole suite.
type Times struct {
	Tests map[string]time.Duration `json:"tests"`
	Suite time.Duration            `json:"suite"`
}

// Write stores the times at path.
func (t *Times) Write(path string) error {
	return writeYAML(path, t)
}

// ReadTimes reads what Write stored.
func ReadTimes(path string) (*Times, error) {
	var times Times
	if err := readYAML(path, &times); err != nil {
		return nil, err
	}
	return &times, nil
}

// Follow reads the events of a run until its end: progress gets a line for each finished test, and
// the output of each failed one is stored as NAME.log in the folder logs.
func Follow(events io.Reader, progress io.Writer, logs string) (*Times, error) {
	times := &Times{Tests: map[string]time.Duration{}}
	output := map[string]*strings.Builder{}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, lineMax)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("not an event of test2json: %.80q: %w", lines.Text(), err)
		}
		name, top := shortName(e.Test)
		switch e.Action {
		case "output":
			if output[name] == nil {
				output[name] = &strings.Builder{}
			}
			output[name].WriteString(e.Output)
		case "pass", "fail", "skip":
			if !top {
				continue
			}
			if err := finish(times, progress, logs, name, e, output[name]); err != nil {
				return nil, err
			}
			delete(output, name)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	return times, nil
}

// shortName is the suite's name of a Go test, and whether it is the test itself and not a part of it.
// What belongs to no test of the suite, such as its setup, goes by the name of the root.
func shortName(test string) (name string, top bool) {
	rest, below := strings.CutPrefix(test, root+"/")
	if !below {
		return root, test == root
	}
	name, _, part := strings.Cut(rest, "/")
	return name, !part
}

func finish(times *Times, progress io.Writer, logs, name string, e event, output *strings.Builder) error {
	took := time.Duration(e.Elapsed * float64(time.Second))
	if name == root {
		times.Suite = took
	} else if e.Action != "skip" {
		times.Tests[name] = took
		fmt.Fprintf(progress, "%-4s %6.1f s  %s\n", e.Action, took.Seconds(), name)
	}
	if e.Action != "fail" || output == nil {
		return nil
	}
	if err := os.WriteFile(filepath.Join(logs, name+".log"), []byte(output.String()), 0o644); err != nil {
		return fmt.Errorf("storing the output of a failed test: %w", err)
	}
	return nil
}
