{{/* What a schema cannot say: values that contradict each other. Included by the workload. */}}

{{- define "ringway.checks" -}}
{{- if and (ne .Values.addresses.mode "service") (not .Values.hostNetwork) -}}
{{- fail (printf "addresses.mode %s serves on the node's network: set hostNetwork: true, or addresses.mode: service" .Values.addresses.mode) -}}
{{- end -}}
{{- if and (eq .Values.addresses.mode "pool") (not .Values.addresses.pool) -}}
{{- fail "addresses.mode pool needs at least one CIDR in addresses.pool" -}}
{{- end -}}
{{- if and (ne .Values.addresses.mode "pool") .Values.addresses.pool -}}
{{- fail (printf "addresses.pool is of addresses.mode pool, but the mode is %s" .Values.addresses.mode) -}}
{{- end -}}
{{- if and (not .Values.hostNetwork) (include "ringway.adminIsLoopback" .) -}}
{{- fail "admin.host is a loopback address, which probes reach only with hostNetwork: true" -}}
{{- end -}}
{{- if and .Values.shards (gt (int .Values.shards) (int .Values.cpu)) -}}
{{- fail (printf "shards is %d, more than the %d cores of cpu" (int .Values.shards) (int .Values.cpu)) -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service) -}}
{{- fail "metrics.serviceMonitor finds pods through the metrics Service: set metrics.service: true" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (include "ringway.adminIsLoopback" .) -}}
{{- fail "metrics.serviceMonitor needs an admin.host that Prometheus reaches, not a loopback address" -}}
{{- end -}}
{{- end -}}

{{- define "ringway.adminIsLoopback" -}}
{{- if or (hasPrefix "127." .Values.admin.host) (eq .Values.admin.host "::1") -}}yes{{- end -}}
{{- end -}}
