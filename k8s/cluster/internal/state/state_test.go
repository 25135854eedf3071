package state

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestAnImageIsFoundByItsNameWithAndWithoutTagAndDigest(t *testing.T) {
	images := Images{"example.org:5000/a": "/any", "example.org:5000/a:v1": "/one", "b@sha256:12": "/digest"}
	for image, want := range map[string]string{
		"example.org:5000/a:v1":           "/one",
		"example.org:5000/a:v1@sha256:00": "/one",
		"example.org:5000/a:v2":           "/any",
		"example.org:5000/a@sha256:00":    "/any",
		"example.org:5000/a":              "/any",
		"b@sha256:12":                     "/digest",
		"b@sha256:13":                     "",
		"example.org":                     "",
	} {
		if got, _ := images.Binary(image); got != want {
			t.Errorf("image %s is %q, not %q", image, got, want)
		}
	}
}

func TestOnlyExecutableFilesAreBinaries(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, argument := range []string{"a=" + plain, "a=/", "a=/no/such", "a=", "=/bin/sh", "a"} {
		if images, err := ParseImages([]string{argument}); err == nil {
			t.Errorf("%q gives %v", argument, images)
		}
	}
	images, err := ParseImages([]string{"a:v1=/bin/sh"})
	if err != nil || images["a:v1"] != "/bin/sh" {
		t.Errorf("/bin/sh gives %v: %v", images, err)
	}
}

func TestRangesThatMeetTheClustersAreRefused(t *testing.T) {
	for _, pools := range [][2]string{
		{"10.244.7.0/24", "10.246.0.0/24"}, {"10.245.0.0/24", "10.96.0.0/12"}, {"10.245.0.0/24", "10.245.0.128/25"},
		{"127.1.0.0/24", "10.246.0.0/24"}, {"10.245.0.1/24", "10.246.0.0/24"}, {"fd00::/64", "10.246.0.0/24"},
	} {
		settings := Settings{Pool: netip.MustParsePrefix(pools[0]), LoadBalancerPool: netip.MustParsePrefix(pools[1])}
		if err := settings.Check(); err == nil {
			t.Errorf("%v is accepted", pools)
		}
	}
	good := Settings{Pool: netip.MustParsePrefix("10.245.0.0/24"), LoadBalancerPool: netip.MustParsePrefix("192.0.2.0/28")}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
}

func TestTheTailOfALogIsItsLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[int]string{1: "three", 2: "two\nthree", 3: "one\ntwo\nthree", 9: "one\ntwo\nthree"} {
		if got, err := Tail(path, lines); err != nil || got != want {
			t.Errorf("the last %d lines are %q: %v", lines, got, err)
		}
	}
}

func TestAProcessThatIsGoneIsNotItsSuccessor(t *testing.T) {
	own, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !own.Alive() {
		t.Error("this process is not alive")
	}
	if other := (Identity{PID: own.PID, Started: own.Started + "0"}); other.Alive() {
		t.Error("a process that started at another time is alive")
	} else if err := other.Kill(0); err != nil {
		t.Errorf("killing a process that is gone: %v", err)
	}
}
