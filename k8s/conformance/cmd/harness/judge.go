package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"

	"ringway.dev/conformance/outcome"
)

func follow(args []string) error {
	flags := flag.NewFlagSet("follow", flag.ContinueOnError)
	logs := flags.String("logs", "", "folder for the output of each failed test")
	output := flags.String("times", "", "file for how long each test took")
	if err := flags.Parse(args); err != nil {
		return err
	}
	times, err := outcome.Follow(os.Stdin, os.Stdout, *logs)
	if err != nil {
		return err
	}
	return times.Write(*output)
}

// evidence is what a run left.
type evidence struct {
	report  *confv1.ConformanceReport
	tests   *outcome.Tests
	times   *outcome.Times
	outcome *outcome.Outcome
}

func gather(reportPath, testsPath, timesPath string) (*evidence, error) {
	report, err := outcome.ReadReport(reportPath)
	if err != nil {
		return nil, fmt.Errorf("the suite left no report: %w", err)
	}
	tests, err := outcome.ReadTests(testsPath)
	if err != nil {
		return nil, fmt.Errorf("the suite left no results: %w", err)
	}
	times, err := outcome.ReadTimes(timesPath)
	if err != nil {
		return nil, err
	}
	return &evidence{report: report, tests: tests, times: times, outcome: outcome.New(report, tests)}, nil
}

func judge(args []string) error {
	flags := flag.NewFlagSet("judge", flag.ContinueOnError)
	report := flags.String("report", "", "the report in upstream's format")
	tests := flags.String("tests", "", "the result of each test")
	times := flags.String("times", "", "how long each test took")
	expectedPath := flags.String("expected", "", "the committed expectation")
	reports := flags.String("reports", "", "folder of committed reports, written to with -update")
	update := flags.Bool("update", false, "record this outcome as the expected one")
	reportOnly := flags.Bool("report-only", false, "print the table only")
	completed := flags.Bool("completed", true, "whether the suite ended with no failure but those of tests")
	if err := flags.Parse(args); err != nil {
		return err
	}
	evidence, err := gather(*report, *tests, *times)
	if err != nil {
		return err
	}
	if err := evidence.outcome.Table(os.Stdout, evidence.tests, evidence.times); err != nil {
		return err
	}
	for _, name := range evidence.outcome.Names(outcome.Failed) {
		fmt.Println("failed:", name)
	}
	if !*completed && len(evidence.outcome.Names(outcome.Failed)) == 0 {
		return errors.New("the suite failed outside its tests, such as in its setup: see the log TestConformance.log")
	}
	if *reportOnly {
		return nil
	}
	expected, err := outcome.Read(*expectedPath)
	if errors.Is(err, fs.ErrNotExist) && *update {
		expected, err = &outcome.Outcome{}, nil
	}
	if err != nil {
		return fmt.Errorf("what is expected (UPDATE=1 records it): %w", err)
	}
	differences := outcome.Compare(expected, evidence.outcome)
	if *update {
		return record(*expectedPath, *report, *reports, evidence, differences)
	}
	return show(differences)
}

func show(differences []outcome.Difference) error {
	for _, difference := range differences {
		fmt.Println("not as expected:", difference)
	}
	if len(differences) > 0 {
		return fmt.Errorf("%w in %d points; UPDATE=1 records a wanted change", errDiffers, len(differences))
	}
	fmt.Println("as expected")
	return nil
}

// record stores the outcome as what is expected, and the report where reports are published.
func record(expected, report, reports string, evidence *evidence, differences []outcome.Difference) error {
	for _, difference := range differences {
		fmt.Println("changed:", difference)
	}
	for _, difference := range differences {
		if difference.Final {
			return fmt.Errorf("%w, and this cannot be recorded: %s", errDiffers, difference)
		}
	}
	if err := evidence.outcome.Write(expected); err != nil {
		return err
	}
	text, err := os.ReadFile(report)
	if err != nil {
		return fmt.Errorf("reading the report: %w", err)
	}
	path := filepath.Join(reports, reportName(evidence.report))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("making a folder for the report: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("storing the report: %w", err)
	}
	fmt.Printf("recorded: %s and %s\n", expected, path)
	return nil
}
