package outcome

import (
	"slices"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
)

// Recorder collects the result of each test while the suite runs. Tests end in parallel.
type Recorder struct {
	profiles []suite.ConformanceProfile
	claimed  []features.FeatureName
	mutex    sync.Mutex
	tests    map[string]recorded
}

type recorded struct {
	result   Result
	features []features.FeatureName
}

// NewRecorder records tests of the given profiles, run with the claimed features.
func NewRecorder(profiles []suite.ConformanceProfile, claimed []features.FeatureName) *Recorder {
	return &Recorder{profiles: profiles, claimed: claimed, tests: map[string]recorded{}}
}

// Record is the suite's hook: it is called at the end of each test.
func (r *Recorder) Record(t *testing.T, test suite.ConformanceTest, run *suite.ConformanceTestSuite) {
	r.record(test, resultOf(t.Failed(), t.Skipped(), run.SupportedFeatures.HasAll(test.Features...)))
}

func (r *Recorder) record(test suite.ConformanceTest, result Result) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.tests[test.ShortName] = recorded{result: result, features: test.Features}
}

// resultOf tells a test whose features are not claimed from one that was left out: upstream skips both.
func resultOf(failed, skipped, claimed bool) Result {
	switch {
	case failed:
		return Failed
	case skipped && !claimed:
		return Unclaimed
	case skipped:
		return Skipped
	default:
		return Passed
	}
}

// Tests returns what was recorded.
func (r *Recorder) Tests() *Tests {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	tests := &Tests{Results: map[string]Result{}, Members: map[string][]string{}}
	for _, feature := range r.claimed {
		tests.Claimed = append(tests.Claimed, string(feature))
	}
	slices.Sort(tests.Claimed)
	for name, test := range r.tests {
		tests.Results[name] = test.result
		for _, profile := range r.profiles {
			if contains(profile, test.features) {
				tests.Members[string(profile.Name)] = append(tests.Members[string(profile.Name)], name)
			}
		}
	}
	for _, members := range tests.Members {
		slices.Sort(members)
	}
	return tests
}

// contains says whether a profile knows all the features, which is what makes a test one of it.
func contains(profile suite.ConformanceProfile, names []features.FeatureName) bool {
	known := sets.New[features.FeatureName]().Union(profile.CoreFeatures).Union(profile.ExtendedFeatures)
	return known.HasAll(names...)
}
