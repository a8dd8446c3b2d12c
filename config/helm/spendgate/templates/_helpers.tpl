{{- define "spendgate.name" -}}
{{- printf "%s-controlplane" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "spendgate.selector" -}}
app.kubernetes.io/name: spendgate-controlplane
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "spendgate.labels" -}}
{{ include "spendgate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "spendgate.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "spendgate.env" -}}
{{- range $name := keys . | sortAlpha }}
- {name: {{ $name }}, value: {{ get $ $name | toString | quote }}}
{{- end }}
{{- end -}}

{{/* What Pod Security's level `restricted` asks of a container, and a root that nobody writes to. */}}
{{- define "spendgate.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}
