{{/* The pod, the same in a DaemonSet and a Deployment. */}}

{{- define "ringway.args" -}}
- run
- --kube
- --class={{ .Values.gatewayClass.name }}
{{- if eq .Values.addresses.mode "pool" }}
- --addresses=pool:{{ join "," .Values.addresses.pool }}
{{- else }}
- --addresses={{ .Values.addresses.mode }}
{{- end }}
- --runtime={{ .Values.runtime }}
- --shards={{ include "ringway.shards" . }}
{{- with .Values.cores }}
- --cores={{ . }}
{{- end }}
- --admin={{ include "ringway.admin" . }}
- --access-log={{ ternary "-" "off" .Values.accessLog }}
- --log-level={{ .Values.logLevel }}
- --trusted-hops={{ int .Values.trustedHops }}
- --drain-timeout={{ int .Values.drainSeconds }}s
{{- if eq .Values.snapshot.type "none" }}
- --snapshot=off
{{- else }}
- --snapshot=/var/lib/ringway
{{- if .Values.snapshot.secrets }}
- --snapshot-secrets
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* One for each core, one less from 4 cores on. */}}
{{- define "ringway.shards" -}}
{{- $cpu := int .Values.cpu -}}
{{- if .Values.shards -}}
{{- int .Values.shards -}}
{{- else if ge $cpu 4 -}}
{{- sub $cpu 1 -}}
{{- else -}}
{{- $cpu -}}
{{- end -}}
{{- end -}}

{{- define "ringway.admin" -}}
{{- if contains ":" .Values.admin.host -}}
{{- printf "[%s]:%d" .Values.admin.host (int .Values.admin.port) -}}
{{- else -}}
{{- printf "%s:%d" .Values.admin.host (int .Values.admin.port) -}}
{{- end -}}
{{- end -}}

{{- define "ringway.env" -}}
{{- range $name, $path := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_IPS" "status.podIPs" }}
- name: RINGWAY_{{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
- name: RINGWAY_REPLICA_SERVICE
  value: {{ include "ringway.fullname" . }}-replicas
{{- with .Values.rbac.secretNamespaces }}
- name: RINGWAY_SECRET_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- end -}}

{{- define "ringway.probe" -}}
httpGet:
  {{- if include "ringway.adminIsLoopback" .root }}
  host: {{ .root.Values.admin.host | quote }}
  {{- end }}
  path: {{ .path }}
  port: admin
{{- end -}}

{{- define "ringway.container" -}}
name: ringway
image: {{ include "ringway.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  {{- include "ringway.args" . | nindent 2 }}
env:
  {{- include "ringway.env" . | trim | nindent 2 }}
ports:
  - name: admin
    containerPort: {{ int .Values.admin.port }}
    protocol: TCP
resources:
  requests:
    cpu: {{ int .Values.cpu | quote }}
    memory: {{ .Values.memory | quote }}
  limits:
    cpu: {{ int .Values.cpu | quote }}
    memory: {{ .Values.memory | quote }}
# Until the first complete configuration serves on every shard the pod is neither listening nor ready.
readinessProbe:
  {{- include "ringway.probe" (dict "root" . "path" "/readyz") | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 1
livenessProbe:
  {{- include "ringway.probe" (dict "root" . "path" "/livez") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add: [NET_BIND_SERVICE]
{{- if ne .Values.snapshot.type "none" }}
volumeMounts:
  - name: snapshot
    mountPath: /var/lib/ringway
{{- end }}
{{- end -}}

{{- define "ringway.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- if eq .Values.seccomp.type "RuntimeDefault" }}
seccompProfile:
  type: RuntimeDefault
{{- else if eq .Values.seccomp.type "Localhost" }}
seccompProfile:
  type: Localhost
  localhostProfile: {{ .Values.seccomp.localhostProfile }}
{{- end }}
{{- if not .Values.hostNetwork }}
# Ports below 1024 need no privilege in a network of the pod's own.
sysctls:
  - name: net.ipv4.ip_unprivileged_port_start
    value: "0"
{{- end }}
{{- end -}}

{{- define "ringway.placement" -}}
{{- with include "ringway.priorityClassName" . }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .Values.kind "Deployment" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "ringway.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{- define "ringway.pod" -}}
metadata:
  labels:
    {{- include "ringway.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ringway.serviceAccountName" . }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  # The drain, and time to spare for the end of the process.
  terminationGracePeriodSeconds: {{ add (int .Values.drainSeconds) 15 }}
  securityContext:
    {{- include "ringway.podSecurity" . | nindent 4 }}
  {{- with include "ringway.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - {{- include "ringway.container" . | nindent 6 }}
  {{- if eq .Values.snapshot.type "emptyDir" }}
  volumes:
    - name: snapshot
      emptyDir: {}
  {{- else if eq .Values.snapshot.type "hostPath" }}
  volumes:
    - name: snapshot
      hostPath:
        path: {{ .Values.snapshot.hostPath | quote }}
        type: Directory
  {{- end }}
{{- end -}}
