package outcome

import (
	"fmt"
	"maps"
	"slices"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
)

// Counts of the tests of one support level of a profile.
type Counts struct {
	Passed  uint32 `json:"passed"`
	Failed  uint32 `json:"failed"`
	Skipped uint32 `json:"skipped"`
}

// String is the form of the table and of differences.
func (c Counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

// Profile is what upstream's report says of one profile.
type Profile struct {
	Core                Counts   `json:"core"`
	Extended            Counts   `json:"extended"`
	SupportedFeatures   []string `json:"supportedFeatures"`
	UnsupportedFeatures []string `json:"unsupportedFeatures"`
}

// Outcome is all that is compared: the committed expectation has the same form.
type Outcome struct {
	// GatewayAPI is the release of the API, Channel its channel.
	GatewayAPI string `json:"gatewayAPI"`
	Channel    string `json:"channel"`
	// Claimed are all features of the GatewayClass, in whatever profile.
	Claimed  []string           `json:"claimed"`
	Profiles map[string]Profile `json:"profiles"`
	Tests    map[string]Result  `json:"tests"`
}

// New joins upstream's report with the results of its tests.
func New(report *confv1.ConformanceReport, tests *Tests) *Outcome {
	outcome := &Outcome{
		GatewayAPI: report.GatewayAPIVersion,
		Channel:    report.GatewayAPIChannel,
		Claimed:    tests.Claimed,
		Profiles:   map[string]Profile{},
		Tests:      maps.Clone(tests.Results),
	}
	for _, profile := range report.ProfileReports {
		outcome.Profiles[profile.Name] = newProfile(&profile)
	}
	return outcome
}

func newProfile(report *confv1.ProfileReport) Profile {
	profile := Profile{Core: newCounts(report.Core.Statistics)}
	if extended := report.Extended; extended != nil {
		profile.Extended = newCounts(extended.Statistics)
		profile.SupportedFeatures = slices.Sorted(slices.Values(extended.SupportedFeatures))
		profile.UnsupportedFeatures = slices.Sorted(slices.Values(extended.UnsupportedFeatures))
	}
	return profile
}

func newCounts(statistics confv1.Statistics) Counts {
	return Counts{Passed: statistics.Passed, Failed: statistics.Failed, Skipped: statistics.Skipped}
}

// Names returns the tests with the given result, sorted.
func (o *Outcome) Names(result Result) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(o.Tests)) {
		if o.Tests[name] == result {
			names = append(names, name)
		}
	}
	return names
}

// Read reads an outcome, such as the expectation.
func Read(path string) (*Outcome, error) {
	var outcome Outcome
	if err := readYAML(path, &outcome); err != nil {
		return nil, err
	}
	return &outcome, nil
}

// Write stores an outcome.
func (o *Outcome) Write(path string) error {
	return writeYAML(path, o)
}

// ReadReport reads a report in upstream's format.
func ReadReport(path string) (*confv1.ConformanceReport, error) {
	var report confv1.ConformanceReport
	if err := readYAML(path, &report); err != nil {
		return nil, err
	}
	return &report, nil
}
