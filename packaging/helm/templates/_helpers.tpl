{{- define "sp1d.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels that select pods. They never change, because a Deployment cannot change its selector. */}}
{{- define "sp1d.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sp1d.labels" -}}
{{ include "sp1d.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The image. Takes "Values", "Chart", and "gpu": whether it needs GPU support. */}}
{{- define "sp1d.image" -}}
{{- $repository := required "image.repository is empty: name the image in your registry (docs/guide/kubernetes.md)" .Values.image.repository -}}
{{- $tag := printf "%s-%s" .Chart.AppVersion .Values.image.level -}}
{{ $repository }}:{{ ternary (default (printf "%s-gpu" $tag) .Values.image.gpuTag) (default $tag .Values.image.tag) .gpu }}
{{- end -}}

{{/* What the pods of the service and of the workers have in common. */}}
{{- define "sp1d.pod" -}}
serviceAccountName: {{ include "sp1d.fullname" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* What all containers have in common. Takes the same as "sp1d.image". */}}
{{- define "sp1d.container" -}}
image: {{ include "sp1d.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* The scheme of the HTTP ports. The kubelet does not verify certificates. */}}
{{- define "sp1d.scheme" -}}
{{- if ne (empty .Values.tls.serviceSecret) (empty (include "sp1d.worker-tls" .)) -}}
{{- fail "set both tls.serviceSecret and tls.workerSecret (or tls.workerVolume), or none (docs/guide/kubernetes.md)" -}}
{{- end -}}
{{- $isFenced := and .Values.networkPolicy.enabled (eq .Values.service.type "ClusterIP") -}}
{{- if not (or .Values.tls.serviceSecret .Values.tls.insecure $isFenced) -}}
{{- fail "without certificates, only network policies and a service of the type ClusterIP keep others out: set tls.serviceSecret and tls.workerSecret, or tls.insecure=true (docs/guide/kubernetes.md)" -}}
{{- end -}}
{{- if .Values.tls.serviceSecret }}https{{ else }}http{{ end -}}
{{- end -}}

{{/* The volume with the identity of the workers. Empty without certificates. */}}
{{- define "sp1d.worker-tls" -}}
{{- if .Values.tls.workerVolume -}}
{{- toYaml .Values.tls.workerVolume -}}
{{- else if .Values.tls.workerSecret -}}
secret: {secretName: {{ .Values.tls.workerSecret | quote }}, defaultMode: 0440}
{{- end -}}
{{- end -}}

{{/* Outgoing connections to name servers. */}}
{{- define "sp1d.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* The settings of the archive that are not secret. */}}
{{- define "sp1d.archive-env" -}}
{{- if .Values.archive.place -}}
{{- with .Values.archive.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.archive.endpoint }}
- {name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }}}
{{- end }}
{{- end -}}
{{- end -}}
