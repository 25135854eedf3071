package outcome

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const someEvents = `{"Action":"start","Package":"conformance"}
{"Action":"run","Test":"TestConformance"}
{"Action":"output","Test":"TestConformance","Output":"applying base manifests\n"}
{"Action":"run","Test":"TestConformance/HTTPRouteSimple"}
{"Action":"output","Test":"TestConformance/HTTPRouteSimple","Output":"fine\n"}
{"Action":"run","Test":"TestConformance/HTTPRouteWeight"}
{"Action":"output","Test":"TestConformance/HTTPRouteWeight/part_one","Output":"weights are off\n"}
{"Action":"fail","Test":"TestConformance/HTTPRouteWeight/part_one","Elapsed":1.5}
{"Action":"pass","Test":"TestConformance/HTTPRouteSimple","Elapsed":0.25}
{"Action":"output","Test":"TestConformance/HTTPRouteWeight","Output":"--- FAIL\n"}
{"Action":"fail","Test":"TestConformance/HTTPRouteWeight","Elapsed":2}
{"Action":"skip","Test":"TestConformance/MeshBasic","Elapsed":0}
{"Action":"fail","Test":"TestConformance","Elapsed":10}
{"Action":"fail","Package":"conformance","Elapsed":10.1}
`

func TestTimesAndTheOutputOfFailedTestsAreKept(t *testing.T) {
	logs := t.TempDir()
	var progress strings.Builder
	times, err := Follow(strings.NewReader(someEvents), &progress, logs)
	if err != nil {
		t.Fatal(err)
	}
	if times.Suite != 10*time.Second || len(times.Tests) != 2 || times.Tests["HTTPRouteSimple"] != 250*time.Millisecond {
		t.Errorf("got %+v", times)
	}
	if want := "pass    0.2 s  HTTPRouteSimple\nfail    2.0 s  HTTPRouteWeight\n"; progress.String() != want {
		t.Errorf("progress:\n%s", progress.String())
	}
	for name, want := range map[string]string{
		"HTTPRouteWeight.log": "weights are off\n--- FAIL\n",
		"TestConformance.log": "applying base manifests\n",
	} {
		got, err := os.ReadFile(filepath.Join(logs, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if all, _ := filepath.Glob(logs + "/*"); len(all) != 2 {
		t.Errorf("logs of tests that did not fail: %v", all)
	}
}

func TestWhatIsNoEventEndsTheRun(t *testing.T) {
	if _, err := Follow(strings.NewReader("panic: oh\n"), &strings.Builder{}, t.TempDir()); err == nil {
		t.Error("taken for an event")
	}
}
