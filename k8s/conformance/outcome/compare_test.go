package outcome

import (
	"slices"
	"strings"
	"testing"
)

func expectation() *Outcome {
	return &Outcome{
		GatewayAPI: "v1.7.0",
		Channel:    "experimental",
		Claimed:    []string{"Gateway", "HTTPRoute", "HTTPRouteCORS"},
		Profiles: map[string]Profile{"GATEWAY-HTTP": {
			Core:                Counts{Passed: 2},
			Extended:            Counts{Passed: 1},
			SupportedFeatures:   []string{"HTTPRouteCORS"},
			UnsupportedFeatures: []string{"ListenerSet"},
		}},
		Tests: map[string]Result{
			"GatewayModifyListeners": Passed, "HTTPRouteSimple": Passed, "HTTPRouteCORS": Passed, "ListenerSetAllowed": Unclaimed,
			"HTTPRouteWeight": Failed,
		},
	}
}

func TestTheExpectedOutcomeHasNoDifference(t *testing.T) {
	if got := Compare(expectation(), expectation()); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// Each change of an outcome, and the lines that it must give, all of them.
func TestEveryChangeIsADifference(t *testing.T) {
	profile := func(change func(*Profile)) func(*Outcome) {
		return func(o *Outcome) {
			changed := o.Profiles["GATEWAY-HTTP"]
			change(&changed)
			o.Profiles["GATEWAY-HTTP"] = changed
		}
	}
	test := func(name string, result Result) func(*Outcome) {
		return func(o *Outcome) { o.Tests[name] = result }
	}
	for name, c := range map[string]struct {
		change func(*Outcome)
		want   []string
	}{
		"a regression":                    {test("HTTPRouteSimple", Failed), []string{"HTTPRouteSimple: expected passed, got failed"}},
		"a pass of what is known to fail": {test("HTTPRouteWeight", Passed), []string{"HTTPRouteWeight: expected failed, got passed"}},
		"an unclaimed pass":               {test("ListenerSetAllowed", Passed), []string{"ListenerSetAllowed: expected unclaimed, got passed"}},
		"a skip":                          {test("HTTPRouteSimple", Skipped), []string{"HTTPRouteSimple: skipped, which no test may be"}},
		"a claim withdrawn":               {test("HTTPRouteCORS", Unclaimed), []string{"HTTPRouteCORS: expected passed, got unclaimed"}},
		"a new test":                      {test("HTTPRouteNew", Passed), []string{"HTTPRouteNew: passed, a test that is not expected"}},
		"a test gone": {func(o *Outcome) { delete(o.Tests, "HTTPRouteSimple") },
			[]string{"HTTPRouteSimple: expected passed, but there is no such test"}},
		"another release": {func(o *Outcome) { o.GatewayAPI = "v1.8.0" }, []string{"gatewayAPI: expected v1.7.0, got v1.8.0"}},
		"another channel": {func(o *Outcome) { o.Channel = "standard" }, []string{"channel: expected experimental, got standard"}},
		"a feature claimed": {func(o *Outcome) { o.Claimed = append(o.Claimed, "ListenerSet") },
			[]string{"GatewayClass: claims ListenerSet, which is not expected"}},
		"a feature dropped": {func(o *Outcome) { o.Claimed = o.Claimed[:2] }, []string{"GatewayClass: no longer claims HTTPRouteCORS"}},
		"a count": {profile(func(p *Profile) { p.Core.Failed = 1 }),
			[]string{"GATEWAY-HTTP core: expected 2 passed, 0 failed, 0 skipped, got 2 passed, 1 failed, 0 skipped"}},
		"an extended count": {profile(func(p *Profile) { p.Extended.Passed = 3 }),
			[]string{"GATEWAY-HTTP extended: expected 1 passed, 0 failed, 0 skipped, got 3 passed, 0 failed, 0 skipped"}},
		"a supported feature": {profile(func(p *Profile) { p.SupportedFeatures = nil }), []string{"GATEWAY-HTTP: no longer supports HTTPRouteCORS"}},
		"an unsupported feature": {profile(func(p *Profile) { p.UnsupportedFeatures = []string{"ListenerSet", "New"} }),
			[]string{"GATEWAY-HTTP: does without New, which is not expected"}},
		"a profile gone": {func(o *Outcome) { o.Profiles = nil }, []string{"GATEWAY-HTTP: expected, but not in the report"}},
		"a profile more": {func(o *Outcome) { o.Profiles["GATEWAY-UDP"] = Profile{} }, []string{"GATEWAY-UDP: a profile that is not expected"}},
	} {
		actual := expectation()
		c.change(actual)
		var got []string
		for _, difference := range Compare(expectation(), actual) {
			got = append(got, difference.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", name, strings.Join(got, "\n     "), strings.Join(c.want, "\n     "))
		}
	}
}

func TestRecordingSettlesNeitherASkipNorAMissingProfile(t *testing.T) {
	actual := expectation()
	actual.Tests["HTTPRouteSimple"] = Skipped
	actual.Profiles = nil
	final := 0
	for _, difference := range Compare(expectation(), actual) {
		if difference.Final {
			final++
		}
	}
	if final != 2 {
		t.Errorf("%d differences are final, want 2", final)
	}
	// Not even when a skip is what is expected.
	if got := Compare(actual, actual); len(got) != 1 || !got[0].Final {
		t.Errorf("an expected skip: %v", got)
	}
}
