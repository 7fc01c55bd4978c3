{{/* What the node must be able to serve, as JSON. */}}
{{- define "sealwire.serverNames" -}}
{{- $names := .Values.node.config.server_names | default list -}}
{{- if not $names -}}
{{- range .Values.agent.config.certificate -}}
{{- $goesNowhere := and (hasKey . "nodes") (not .nodes) -}}
{{- if not $goesNowhere -}}{{- $names = concat $names .identifiers -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{/* How many pods there may be at the most. */}}
{{- define "sealwire.mostReplicas" -}}
{{- .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicas | int -}}
{{- end -}}

{{/* "true" where the API server knows the `sleep` of preStop (beta and on since 1.30). */}}
{{- define "sealwire.preStopSleeps" -}}
{{- if and (gt (int .Values.node.drain.preStopSeconds) 0) (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}true{{- end -}}
{{- end -}}

{{/* What it takes to stop: docs/node.md, Drain. */}}
{{- define "sealwire.secondsToStop" -}}
{{- with .Values.node.drain -}}
{{- add .preStopSeconds .windowSeconds .timeoutSeconds 1 -}}
{{- end -}}
{{- end -}}

{{- define "sealwire.gracePeriod" -}}
{{- .Values.terminationGracePeriodSeconds | default (add (include "sealwire.secondsToStop" . | int) 10) -}}
{{- end -}}

{{/* PORT of "ADDRESS:PORT". */}}
{{- define "sealwire.portOf" -}}
{{- . | splitList ":" | last -}}
{{- end -}}

{{- define "sealwire.nats" -}}
{{- $nats := dict "servers" .servers "require_tls" .requireTls -}}
{{- if .credentialsSecret -}}{{- $_ := set $nats "credentials" "/etc/sealwire/nats/credentials/nats.creds" -}}{{- end -}}
{{- if .tlsSecret -}}{{- $_ := set $nats "roots" "/etc/sealwire/nats/tls/ca.crt" -}}{{- end -}}
{{- if .clientCertificate -}}
{{- $_ := set $nats "certificate" "/etc/sealwire/nats/tls/tls.crt" -}}
{{- $_ := set $nats "key" "/etc/sealwire/nats/tls/tls.key" -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .config) $nats | toJson -}}
{{- end -}}

{{/* The text of wss-node.toml. */}}
{{- define "sealwire.nodeSettings" -}}
{{- $node := .Values.node -}}
{{- $sleeps := eq "true" (include "sealwire.preStopSleeps" .) -}}
{{- $drain := dict
      "delay" ($sleeps | ternary "0s" (printf "%vs" (int $node.drain.preStopSeconds)))
      "window" (printf "%vs" (int $node.drain.windowSeconds))
      "timeout" (printf "%vs" (int $node.drain.timeoutSeconds))
      "sessions_per_second" $node.drain.sessionsPerSecond -}}
{{- $broker := dict -}}
{{- if $node.persistence.enabled -}}{{- $_ := set $broker "directory" "/var/lib/wss-node" -}}{{- end -}}
{{- if .Values.nats.enabled -}}{{- $_ := set $broker "nats" (include "sealwire.nats" .Values.nats | fromJson) -}}{{- end -}}
{{- $own := dict
      "server_names" (include "sealwire.serverNames" . | fromJsonArray)
      "delivery" (dict "socket" (include "sealwire-sidecar.deliverySocket" .))
      "listen" (dict "address" (printf "0.0.0.0:%v" (int $node.ports.wss)))
      "admin" (dict "address" (printf "0.0.0.0:%v" (int $node.ports.admin)) "socket" "/run/wss-node/node/admin.sock")
      "broker" $broker
      "drain" $drain -}}
{{- $config := mergeOverwrite (dict "log" (dict "format" "json")) (deepCopy $node.config) $own -}}
{{- range $name, $rules := $config.namespaces -}}
{{- if not $rules -}}{{- $_ := set $config.namespaces $name dict -}}{{- end -}}
{{- end -}}
{{- include "sealwire-sidecar.toml" (dict "table" $config) | trim -}}
{{- end -}}
