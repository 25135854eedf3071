//go:build conformance

package suite

import (
	"context"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	v1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	upstream "sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"

	"ringway.dev/conformance/claims"
	"ringway.dev/conformance/outcome"
)

var testsOutput = flag.String("tests-output", "", "File for the result of each test, as the harness compares it.")

// TestConformance runs every test of the suite against the cluster that KUBECONFIG names.
func TestConformance(t *testing.T) {
	options := conformance.DefaultOptions(t)
	refuseExemptions(t, &options)
	if !flagIsSet("gateway-class") {
		options.GatewayClassName = claims.GatewayClass
	}
	options.Mode = claims.Mode
	options.ConformanceProfiles = claims.ProfileNames()
	options.Implementation = claims.Implementation(version())

	claimed := claimedFeatures(t, &options)
	if options.RunTest != "" {
		// Upstream infers features only for whole runs; a single test gets the same ones.
		options.SupportedFeatures = claimed
	}
	recorder := outcome.NewRecorder(claims.Profiles(), claimed)
	options.Hook = recorder.Record
	t.Cleanup(func() {
		if *testsOutput != "" {
			require.NoError(t, recorder.Tests().Write(*testsOutput))
		}
	})
	conformance.RunConformanceWithOptions(t, options)
}

// refuseExemptions fails if the flags or the options file leave anything out: what this test passes
// must mean that the suite passes.
func refuseExemptions(t *testing.T, options *upstream.ConformanceOptions) {
	t.Helper()
	for what, given := range map[string]bool{
		"-skip-tests":             len(options.SkipTests) > 0,
		"-skip-provisional-tests": options.SkipProvisionalTests,
		"-exempt-features":        len(options.ExemptFeatures) > 0,
		"-supported-features":     len(options.SupportedFeatures) > 0,
		"-all-features":           options.EnableAllSupportedFeatures,
		"-allow-crds-mismatch":    options.AllowCRDsMismatch,
	} {
		require.Falsef(t, given, "%s is refused: features come from the GatewayClass, and every test runs", what)
	}
}

// claimedFeatures reads what the GatewayClass claims.
func claimedFeatures(t *testing.T, options *upstream.ConformanceOptions) []features.FeatureName {
	t.Helper()
	var class v1.GatewayClass
	name := types.NamespacedName{Name: options.GatewayClassName}
	err := options.Client.Get(context.Background(), name, &class)
	require.NoErrorf(t, err, "reading GatewayClass %s", options.GatewayClassName)
	var claimed []features.FeatureName
	for _, feature := range class.Status.SupportedFeatures {
		claimed = append(claimed, features.FeatureName(feature.Name))
	}
	return claimed
}

func version() string {
	if version := os.Getenv("RINGWAY_VERSION"); version != "" {
		return version
	}
	return "unreleased"
}

func flagIsSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
