package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ringway.dev/conformance/outcome"
)

func TestAReportIsNamedByUpstreamsRules(t *testing.T) {
	report, err := outcome.ReadReport("../../outcome/testdata/report.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := "v1.7/ringway-ringway/experimental-v0.1.0-default-report.yaml"
	if got := reportName(report); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// left writes what a run leaves into a folder, and returns the flags of judge that name it.
func left(t *testing.T, dir string, weight outcome.Result) []string {
	t.Helper()
	report, err := os.ReadFile("../../outcome/testdata/report.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{}
	for _, name := range []string{"report", "tests", "times", "expected"} {
		paths[name] = filepath.Join(dir, name+".yaml")
	}
	tests := outcome.Tests{Results: map[string]outcome.Result{"HTTPRouteWeight": weight}}
	times := outcome.Times{}
	for _, err := range []error{os.WriteFile(paths["report"], report, 0o644), tests.Write(paths["tests"]), times.Write(paths["times"])} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return []string{"-report", paths["report"], "-tests", paths["tests"], "-times", paths["times"],
		"-expected", paths["expected"], "-reports", filepath.Join(dir, "reports")}
}

func TestAnOutcomeFailsUntilItIsRecordedAndARegressionAfter(t *testing.T) {
	dir := t.TempDir()
	flags := left(t, dir, outcome.Passed)
	if err := judge(flags); err == nil {
		t.Error("passes where nothing is expected yet")
	}
	if err := judge(slices.Concat(flags, []string{"-update"})); err != nil {
		t.Fatal(err)
	}
	if err := judge(flags); err != nil {
		t.Errorf("what was just recorded: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "reports/v1.7/ringway-ringway/experimental-v0.1.0-default-report.yaml")); err != nil {
		t.Error(err)
	}
	if err := judge(left(t, dir, outcome.Failed)); err == nil {
		t.Error("a regression passes")
	}
}

func TestASkipIsNotRecorded(t *testing.T) {
	dir := t.TempDir()
	flags := left(t, dir, outcome.Skipped)
	if err := judge(slices.Concat(flags, []string{"-update"})); err == nil {
		t.Error("recorded")
	}
	if _, err := os.Stat(filepath.Join(dir, "expected.yaml")); err == nil {
		t.Error("written")
	}
}

func TestASuiteThatFailsInItsSetupFails(t *testing.T) {
	flags := left(t, t.TempDir(), outcome.Passed)
	if err := judge(slices.Concat(flags, []string{"-update", "-completed=false"})); err == nil {
		t.Error("passes")
	}
}
