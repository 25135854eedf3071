// Package claims is the one place that says what Ringway claims of the upstream conformance suite:
// the profiles that are run, and who stands in the report.
//
// Features are not claimed here: the suite infers them from the status of the GatewayClass.
package claims

import (
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
)

// GatewayClass is the class under test unless another is named.
const GatewayClass = "ringway"

// Mode is the one way in which the implementation is run.
const Mode = "default"

// Profiles returns the claimed profiles, in the order of the printed table.
func Profiles() []suite.ConformanceProfile {
	return []suite.ConformanceProfile{
		suite.GatewayHTTPConformanceProfile,
		suite.GatewayGRPCConformanceProfile,
		suite.GatewayTLSConformanceProfile,
		suite.GatewayTCPConformanceProfile,
		suite.GatewayUDPConformanceProfile,
	}
}

// ProfileNames returns the names of the claimed profiles.
func ProfileNames() []suite.ConformanceProfileName {
	var names []suite.ConformanceProfileName
	for _, profile := range Profiles() {
		names = append(names, profile.Name)
	}
	return names
}

// Implementation is what the report says about the implementation, given its version.
func Implementation(version string) confv1.Implementation {
	return confv1.Implementation{
		Organization: "ringway",
		Project:      "ringway",
		URL:          "https://ringway.dev",
		Version:      version,
		Contact:      []string{"@ringway/maintainers"},
	}
}
