{{/*
TOML from a map. Not `toToml`: it writes every number of a values file as a float, and the programs want integers.
*/}}

{{/* A value in one line; maps become inline tables. */}}
{{- define "sealwire-sidecar.toml.value" -}}
{{- if kindIs "string" . -}}
{{- toRawJson . -}}
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "sealwire-sidecar.toml.key" $key) (include "sealwire-sidecar.toml.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}
{{- $items = append $items (include "sealwire-sidecar.toml.value" .) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "float64" . -}}
{{- if eq (float64 (int64 .)) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "sealwire-sidecar.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end -}}

{{/* "map", "list" (of maps), "none" (null), or "value". */}}
{{- define "sealwire-sidecar.toml.shape" -}}
{{- if kindIs "invalid" . -}}none
{{- else if kindIs "map" . -}}map
{{- else if and (kindIs "slice" .) . (kindIs "map" (first .)) -}}list
{{- else -}}value
{{- end -}}
{{- end -}}

{{/* A document, or the table `path` of one. Arguments: table, path ("" for the document). */}}
{{- define "sealwire-sidecar.toml" -}}
{{- $path := .path | default "" -}}
{{- range $key, $value := .table -}}
{{- if eq "value" (include "sealwire-sidecar.toml.shape" $value) }}
{{ include "sealwire-sidecar.toml.key" $key }} = {{ include "sealwire-sidecar.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- $shape := include "sealwire-sidecar.toml.shape" $value -}}
{{- $at := include "sealwire-sidecar.toml.key" $key -}}
{{- if $path -}}{{- $at = printf "%s.%s" $path $at -}}{{- end -}}
{{- if eq "map" $shape }}

[{{ $at }}]
{{- include "sealwire-sidecar.toml" (dict "table" $value "path" $at) -}}
{{- else if eq "list" $shape -}}
{{- range $value }}

[[{{ $at }}]]
{{- include "sealwire-sidecar.toml" (dict "table" . "path" $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
