package main

import (
	"fmt"
	"path/filepath"
	"strings"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
)

// reportName is where upstream's rules put a report below its folder of reports:
// vMAJOR.MINOR/ORGANIZATION-PROJECT/CHANNEL-VERSION-MODE-report.yaml.
func reportName(report *confv1.ConformanceReport) string {
	release := report.GatewayAPIVersion
	if parts := strings.Split(release, "."); len(parts) > 2 {
		release = parts[0] + "." + parts[1]
	}
	folder := report.Organization + "-" + report.Project
	file := fmt.Sprintf("%s-%s-%s-report.yaml", report.GatewayAPIChannel, report.Version, report.Mode)
	return filepath.Join(release, folder, file)
}
