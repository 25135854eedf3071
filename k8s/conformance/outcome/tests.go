// Package outcome is what a run of the suite came to: the result of each test, the counts of each
// profile, how long everything took, and how that compares with what is expected.
package outcome

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// Result is what became of one test.
type Result string

// The results. Unclaimed: a feature that the test needs is not claimed, so it did not run.
const (
	Passed    Result = "passed"
	Failed    Result = "failed"
	Skipped   Result = "skipped"
	Unclaimed Result = "unclaimed"
)

// Tests is the result of each test of one run.
type Tests struct {
	// Claimed are the features of the GatewayClass, sorted.
	Claimed []string `json:"claimed"`
	// Results by the tests' short names.
	Results map[string]Result `json:"results"`
	// Members are the tests that belong to each claimed profile, by its name.
	Members map[string][]string `json:"members"`
}

// Write stores the results at path.
func (t *Tests) Write(path string) error {
	return writeYAML(path, t)
}

// ReadTests reads what Write stored.
func ReadTests(path string) (*Tests, error) {
	var tests Tests
	if err := readYAML(path, &tests); err != nil {
		return nil, err
	}
	return &tests, nil
}

func writeYAML(path string, value any) error {
	text, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// readYAML is strict: a field that is not known is a mistake in a file that people edit.
func readYAML(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if err := yaml.UnmarshalStrict(text, value); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}
