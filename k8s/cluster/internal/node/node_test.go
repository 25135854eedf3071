package node

import (
	"bytes"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/api/core/v1"
)

func TestCapabilitiesAreDroppedAddedAndKeptOnlyAsAsked(t *testing.T) {
	user := int64(7)
	for name, given := range map[string]struct {
		user            *int64
		drop, add       []v1.Capability
		bounding, ambit []string
	}{
		"nothing said":       {nil, nil, nil, defaultCapabilities, nil},
		"all dropped":        {nil, []v1.Capability{"ALL"}, nil, nil, nil},
		"one dropped":        {nil, []v1.Capability{"CAP_KILL"}, nil, slices.DeleteFunc(slices.Clone(defaultCapabilities), func(n string) bool { return n == "KILL" }), nil},
		"one kept as user":   {&user, []v1.Capability{"ALL"}, []v1.Capability{"NET_BIND_SERVICE"}, []string{"NET_BIND_SERVICE"}, []string{"NET_BIND_SERVICE"}},
		"one added as root":  {nil, []v1.Capability{"ALL"}, []v1.Capability{"SYS_NICE"}, []string{"SYS_NICE"}, nil},
		"defaults as a user": {&user, nil, nil, defaultCapabilities, nil},
	} {
		container := &v1.Container{SecurityContext: &v1.SecurityContext{
			RunAsUser:    given.user,
			Capabilities: &v1.Capabilities{Drop: given.drop, Add: given.add},
		}}
		r, err := rightsOf(&v1.Pod{}, container)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !same(r.capabilities, given.bounding) || !same(r.ambient, given.ambit) {
			t.Errorf("%s: %v and %v", name, r.capabilities, r.ambient)
		}
	}
	unknown := &v1.Container{SecurityContext: &v1.SecurityContext{Capabilities: &v1.Capabilities{Add: []v1.Capability{"FLY"}}}}
	if _, err := rightsOf(&v1.Pod{}, unknown); err == nil || !strings.Contains(err.Error(), "FLY") {
		t.Errorf("an unknown capability: %v", err)
	}
}

func same(numbers []uintptr, names []string) bool {
	var got []string
	for _, number := range numbers {
		got = append(got, capabilityNames[number])
	}
	want := slices.Clone(names)
	slices.Sort(got)
	slices.Sort(want)
	return slices.Equal(got, want)
}

func TestTheDefaultGraceIsShortUnlessAHookNeedsIt(t *testing.T) {
	hooked := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Lifecycle: &v1.Lifecycle{PreStop: &v1.LifecycleHandler{}}}}}}
	for _, given := range []struct {
		pod     *v1.Pod
		seconds int64
		want    time.Duration
	}{
		{&v1.Pod{}, 30, time.Second}, {&v1.Pod{}, 20, 20 * time.Second}, {&v1.Pod{}, 0, 0},
		{hooked, 30, 30 * time.Second}, {hooked, 5, 5 * time.Second},
	} {
		if got := graceOf(given.pod, given.seconds); got != given.want {
			t.Errorf("%d s become %s, not %s", given.seconds, got, given.want)
		}
	}
}

func TestALogIsReadFromWhereTheQueryWants(t *testing.T) {
	log := &logFile{path: filepath.Join(t.TempDir(), "log")}
	for _, line := range []string{"one", "two", "three"} {
		if err := log.write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	log.close()
	read := func(query string) string {
		t.Helper()
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parseLogQuery(values, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		parsed.sendAll(&limited{to: &out, left: parsed.limit}, log.path)
		return out.String()
	}
	for query, want := range map[string]string{
		"":                               "one\ntwo\nthree\n",
		"tailLines=2":                    "two\nthree\n",
		"tailLines=0":                    "",
		"tailLines=2&limitBytes=5":       "two\nt",
		"sinceTime=2001-01-01T00:00:00Z": "one\ntwo\nthree\n",
		"sinceTime=2999-01-01T00:00:00Z": "",
		"sinceSeconds=3600":              "one\ntwo\nthree\n",
	} {
		if got := read(query); got != want {
			t.Errorf("%s gives %q", query, got)
		}
	}
	for _, query := range []url.Values{{"sinceTime": {"now"}}, {"tailLines": {"x"}}, {"previous": {"true"}}} {
		if parsed, err := parseLogQuery(query, time.Now()); err == nil {
			t.Errorf("%v gives %v", query, parsed)
		}
	}
}

func TestALogThatGrewTooLargeKeepsItsNewestLines(t *testing.T) {
	log := &logFile{path: filepath.Join(t.TempDir(), "log")}
	line := bytes.Repeat([]byte("x"), logLineMax)
	for range logBytesMax/logLineMax + 1 {
		if err := log.write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	log.close()
	var out bytes.Buffer
	logQuery{tail: 2, limit: -1}.sendAll(&limited{to: &out, left: -1}, log.path)
	if want := string(line) + "\nlast\n"; out.String() != want {
		t.Errorf("the last two lines have %d bytes, not %d", out.Len(), len(want))
	}
}

func TestAStreamIsKeptLineByLineAndLongLinesInParts(t *testing.T) {
	log := &logFile{path: filepath.Join(t.TempDir(), "log")}
	long := strings.Repeat("y", logLineMax+10)
	log.copyFrom(nopCloser{strings.NewReader("one\n\n" + long + "\nunfinished")})
	log.close()
	var out bytes.Buffer
	logQuery{tail: -1, limit: -1}.sendAll(&limited{to: &out, left: -1}, log.path)
	want := "one\n\n" + long[:logLineMax] + "\n" + long[logLineMax:] + "\nunfinished\n"
	if out.String() != want {
		t.Errorf("it is %d bytes and not %d", out.Len(), len(want))
	}
}

type nopCloser struct{ *strings.Reader }

func (nopCloser) Close() error { return nil }
