package outcome

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

func sample(t *testing.T) (*Outcome, *Tests) {
	t.Helper()
	report, err := ReadReport("testdata/report.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tests := &Tests{
		Claimed: []string{"HTTPRouteCORS", "HTTPRouteMethodMatching"},
		Results: map[string]Result{"HTTPRouteWeight": Failed, "HTTPRouteCORS": Passed, "ListenerSetAllowed": Unclaimed},
		Members: map[string][]string{"GATEWAY-HTTP": {"HTTPRouteCORS", "HTTPRouteWeight"}},
	}
	return New(report, tests), tests
}

func TestAnOutcomeIsReadFromUpstreamsReport(t *testing.T) {
	outcome, _ := sample(t)
	want := map[string]Profile{
		"GATEWAY-HTTP": {
			Core: Counts{Passed: 39, Failed: 1}, Extended: Counts{Passed: 2},
			SupportedFeatures:   []string{"HTTPRouteCORS", "HTTPRouteMethodMatching"},
			UnsupportedFeatures: []string{"GatewayStaticAddresses", "ListenerSet"},
		},
		"GATEWAY-TCP": {Core: Counts{Passed: 20}},
	}
	if !reflect.DeepEqual(outcome.Profiles, want) {
		t.Errorf("got %+v", outcome.Profiles)
	}
}

func TestWhatIsWrittenIsReadBackWithoutADifference(t *testing.T) {
	outcome, _ := sample(t)
	path := filepath.Join(t.TempDir(), "expected.yaml")
	if err := outcome.Write(path); err != nil {
		t.Fatal(err)
	}
	read, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := Compare(read, outcome); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestATableHasCountsFeaturesAndTimeOfEachProfile(t *testing.T) {
	outcome, tests := sample(t)
	times := &Times{Suite: 12 * time.Second, Tests: map[string]time.Duration{"HTTPRouteCORS": 3 * time.Second, "HTTPRouteWeight": 4 * time.Second}}
	var table strings.Builder
	if err := outcome.Table(&table, tests, times); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(table.String(), "\n")
	if got := strings.Fields(lines[1]); !reflect.DeepEqual(got, []string{"GATEWAY-HTTP", "39/1/0", "2/0/0", "2", "of", "4", "7"}) {
		t.Errorf("got %q", got)
	}
	if want := "took 12 s, 1 tests passed, 1 failed, 0 skipped, 1 not claimed"; !strings.Contains(lines[3], want) {
		t.Errorf("got %q, want %q in it", lines[3], want)
	}
}

func TestATestThatNobodyClaimedIsToldFromOneThatIsSkipped(t *testing.T) {
	for _, c := range []struct {
		failed, skipped, claimed bool
		want                     Result
	}{
		{claimed: true, want: Passed},
		{failed: true, claimed: true, want: Failed},
		{skipped: true, claimed: true, want: Skipped},
		{skipped: true, want: Unclaimed},
		{failed: true, want: Failed},
	} {
		if got := resultOf(c.failed, c.skipped, c.claimed); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestATestBelongsToTheProfilesThatKnowAllItsFeatures(t *testing.T) {
	profiles := []suite.ConformanceProfile{suite.GatewayHTTPConformanceProfile, suite.GatewayGRPCConformanceProfile}
	recorder := NewRecorder(profiles, []features.FeatureName{"HTTPRoute", "Gateway"})
	recorder.record(suite.ConformanceTest{ShortName: "Both", Features: []features.FeatureName{"Gateway"}}, Passed)
	recorder.record(suite.ConformanceTest{ShortName: "HTTP", Features: []features.FeatureName{"Gateway", "HTTPRouteCORS"}}, Passed)
	recorder.record(suite.ConformanceTest{ShortName: "None", Features: []features.FeatureName{"HTTPRoute", "GRPCRoute"}}, Failed)
	tests := recorder.Tests()
	want := map[string][]string{"GATEWAY-HTTP": {"Both", "HTTP"}, "GATEWAY-GRPC": {"Both"}}
	if !reflect.DeepEqual(tests.Members, want) || !reflect.DeepEqual(tests.Claimed, []string{"Gateway", "HTTPRoute"}) {
		t.Errorf("got %+v", tests)
	}
}
