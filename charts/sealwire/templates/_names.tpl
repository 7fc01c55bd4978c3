{{- define "sealwire.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters, so that suffixes and the ordinal of a pod fit into a label. */}}
{{- define "sealwire.fullname" -}}
{{- $name := include "sealwire.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What pods are found by; never changes within a release. */}}
{{- define "sealwire.selector" -}}
app.kubernetes.io/name: {{ include "sealwire.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "sealwire.labels" -}}
{{ include "sealwire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sealwire.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "sealwire.fullname" .) "default") -}}
{{- end -}}

{{- define "sealwire.image" -}}
{{- include "sealwire-sidecar.image" (dict "image" .Values.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "sealwire.agentImage" -}}
{{- include "sealwire-sidecar.image" (dict "image" .Values.agent.image "tag" .Chart.AppVersion) | default (include "sealwire.image" .) -}}
{{- end -}}
