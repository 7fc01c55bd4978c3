{{/* Secrets that replicas share, as JSON. Arguments: values, name. */}}
{{- define "sealwire-sidecar.secrets" -}}
{{- $name := .name -}}
{{- $all := list -}}
{{- range .values.config.certificate -}}{{- $all = append $all (printf "%s-certificate-%s" $name .name) -}}{{- end -}}
{{- range keys (.values.config.acme | default dict) | sortAlpha -}}{{- $all = append $all (printf "%s-account-%s" $name .) -}}{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{/*
What replicas share, and the right to it: by name, and no right to make anything. The objects are made empty, the agents
fill them, and an upgrade leaves alone what it does not name. Arguments: values, name, labels (a map), serviceAccount.
*/}}
{{- define "sealwire-sidecar.replicas" -}}
{{- if .values.store.kubernetes -}}
{{- $labels := .labels -}}
{{- $name := .name -}}
{{- $secrets := include "sealwire-sidecar.secrets" . | fromJsonArray -}}
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: {{ $name }}
  labels: {{- toYaml $labels | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
{{- range $secrets }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ . }}
  labels: {{- toYaml $labels | nindent 4 }}
  annotations:
    # Account and keys outlive the release.
    helm.sh/resource-policy: keep
type: Opaque
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}-agent
  labels: {{- toYaml $labels | nindent 4 }}
rules:
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [{{ $name }}]
    verbs: [get, update]
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: {{- toYaml $secrets | nindent 6 }}
    verbs: [get, watch, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}-agent
  labels: {{- toYaml $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}-agent
subjects:
  - kind: ServiceAccount
    name: {{ .serviceAccount }}
{{- end -}}
{{- end -}}
