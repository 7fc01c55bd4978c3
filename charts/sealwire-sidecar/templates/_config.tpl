{{/* Paths inside the agent's container; the server's is the one of the socket. */}}
{{- define "sealwire-sidecar.deliverySocket" -}}/run/sealwire/agent/delivery.sock{{- end -}}
{{- define "sealwire-sidecar.adminSocket" -}}/run/sealwire-admin/agent/admin.sock{{- end -}}

{{/* Names of configured issuers, as JSON. Argument: the agent's `config`. */}}
{{- define "sealwire-sidecar.issuers" -}}
{{- concat (keys (.internal | default dict)) (keys (.acme | default dict)) | sortAlpha | toJson -}}
{{- end -}}

{{/* Challenge types that some certificate may be validated by, as JSON. Argument: the agent's `config`. */}}
{{- define "sealwire-sidecar.challenges" -}}
{{- $config := . -}}
{{- $all := list -}}
{{- range $certificate := .certificate -}}
{{- range $name := $certificate.issuers | default (include "sealwire-sidecar.issuers" $config | fromJsonArray) -}}
{{- with index ($config.acme | default dict) $name -}}
{{- $all = concat $all ($certificate.challenges | default .challenges | default (list "http-01")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $all | uniq | toJson -}}
{{- end -}}

{{/* "true" if an ACME issuer is used by some certificate. Argument: the agent's `config`. */}}
{{- define "sealwire-sidecar.usesAcme" -}}
{{- $config := . -}}
{{- range $certificate := .certificate -}}
{{- range $name := $certificate.issuers | default (include "sealwire-sidecar.issuers" $config | fromJsonArray) -}}
{{- if hasKey ($config.acme | default dict) $name -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if somebody must answer HTTP-01. Argument: the agent's `config`. */}}
{{- define "sealwire-sidecar.usesHttp01" -}}
{{- if has "http-01" (include "sealwire-sidecar.challenges" . | fromJsonArray) -}}true{{- end -}}
{{- end -}}

{{/* The certificate that the server waits for. Argument: the agent's values. */}}
{{- define "sealwire-sidecar.firstCertificate" -}}
{{- $name := .startup.certificate -}}
{{- range .config.certificate -}}
{{- $goesNowhere := and (hasKey . "nodes") (not .nodes) -}}
{{- if and (not $name) (not $goesNowhere) -}}{{- $name = .name -}}{{- end -}}
{{- end -}}
{{- $name | default (first .config.certificate).name -}}
{{- end -}}

{{/* Fails if `config` sets what the chart sets. Arguments: config, where (for the message), keys (with dots). */}}
{{- define "sealwire-sidecar.refuse" -}}
{{- $config := .config -}}
{{- $where := .where -}}
{{- range .keys -}}
{{- $table := $config -}}
{{- $parts := splitList "." . -}}
{{- range initial $parts -}}
{{- $table = index $table . | default dict -}}
{{- end -}}
{{- if hasKey $table (last $parts) -}}
{{- fail (printf "\n\n%s.%s: the chart sets this itself. Remove it.\n" $where .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The text of sealwire.toml. Arguments: values, name (of the workload; the Lease has it). */}}
{{- define "sealwire-sidecar.settings" -}}
{{- $values := .values -}}
{{- $own := dict
      "state_dir" "/var/lib/sealwire/state"
      "delivery" (dict "socket" (include "sealwire-sidecar.deliverySocket" .) "allow_uids" (list $values.serverUid))
      "admin" (dict "socket" (include "sealwire-sidecar.adminSocket" .))
      "http01" (dict "listen" (printf "0.0.0.0:%v" (int $values.http01.port)))
-}}
{{- if $values.metrics.enabled -}}
{{- $_ := set $own.admin "metrics" (printf "0.0.0.0:%v" (int $values.metrics.port)) -}}
{{- end -}}
{{- if $values.store.kubernetes -}}
{{- $_ := set $own "kubernetes" (dict "name" .name) -}}
{{- end -}}
{{- $config := mergeOverwrite (dict "log" (dict "format" "json")) (deepCopy $values.config) $own -}}
{{- /* `pki: null` or `pki: {}`: a CA with all as it is when unset. */ -}}
{{- range $name, $ca := $config.internal -}}
{{- if not $ca -}}{{- $_ := set $config.internal $name dict -}}{{- end -}}
{{- end -}}
{{- include "sealwire-sidecar.toml" (dict "table" $config) | trim -}}
{{- end -}}

{{/* ConfigMap with sealwire.toml. Arguments: name, values, labels (a map). */}}
{{- define "sealwire-sidecar.configMap" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .name }}-agent
  labels: {{- toYaml .labels | nindent 4 }}
data:
  sealwire.toml: |
    {{- include "sealwire-sidecar.settings" . | nindent 4 }}
{{- end -}}
