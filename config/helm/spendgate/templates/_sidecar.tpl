{{/*
The sidecar, for the pods of other charts. With this chart as a dependency named `spendgate`:

    metadata:
      labels: {spendgate.dev/sidecar: enabled}
    spec:
      initContainers:
        {{- include "spendgate.sidecar" .Subcharts.spendgate | nindent 8 }}
      containers: [...]           # they find it on http://127.0.0.1:8787
      volumes:
        {{- include "spendgate.sidecar.volumes" .Subcharts.spendgate | nindent 8 }}
*/}}
{{- define "spendgate.sidecar" -}}
- name: spendgate
  image: {{ include "spendgate.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [sidecar]
  restartPolicy: Always
  env:
    - {name: SPENDGATE_REDIS_URL_FILE, value: {{ printf "/etc/spendgate/store/%s" .Values.store.key }}}
    - {name: SPENDGATE_WORKSPACE, value: {{ .Values.workspace | quote }}}
    - {name: SPENDGATE_ADMIN_HOST, value: 0.0.0.0}
    - {name: SPENDGATE_LOG_FORMAT, value: json}
    {{- if .Values.sidecar.rulesConfigMap }}
    - {name: SPENDGATE_RULES, value: /etc/spendgate/rules/budgets.yaml}
    {{- end }}
    {{- if .Values.sidecar.unixSocket }}
    - {name: SPENDGATE_UNIX_SOCKET, value: /run/spendgate/spendgate.sock}
    {{- end }}
    {{- include "spendgate.env" .Values.sidecar.env | indent 4 }}
  ports:
    - {name: spendgate-admin, containerPort: 9797}
  startupProbe:
    httpGet: {path: /readyz, port: spendgate-admin}
    periodSeconds: 1
    failureThreshold: 300
  readinessProbe:
    httpGet: {path: /readyz, port: spendgate-admin}
    periodSeconds: 5
  livenessProbe:
    httpGet: {path: /livez, port: spendgate-admin}
    periodSeconds: 10
    timeoutSeconds: 5
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "spendgate.securityContext" . | nindent 4 }}
  volumeMounts:
    - {name: spendgate-data, mountPath: /var/lib/spendgate}
    - {name: spendgate-store, mountPath: /etc/spendgate/store, readOnly: true}
    {{- if .Values.sidecar.rulesConfigMap }}
    - {name: spendgate-rules, mountPath: /etc/spendgate/rules, readOnly: true}
    {{- end }}
    {{- if .Values.sidecar.unixSocket }}
    - {name: spendgate-socket, mountPath: /run/spendgate}
    {{- end }}
{{- end -}}

{{- define "spendgate.sidecar.volumes" -}}
- name: spendgate-data
  emptyDir: {sizeLimit: {{ .Values.sidecar.dataSizeLimit }}}
- name: spendgate-store
  secret: {secretName: {{ .Values.store.secretName }}, defaultMode: 292}
{{- if .Values.sidecar.rulesConfigMap }}
- name: spendgate-rules
  configMap: {name: {{ .Values.sidecar.rulesConfigMap }}}
{{- end }}
{{- if .Values.sidecar.unixSocket }}
- name: spendgate-socket
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end }}
{{- end -}}
