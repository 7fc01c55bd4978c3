{{/* Fails with the fix on what cannot work. */}}
{{- define "sealwire.guards" -}}
{{- $values := .Values -}}
{{- $replicas := include "sealwire.mostReplicas" . | int -}}
{{- if not (include "sealwire.image" .) -}}
{{- fail "\n\nimage.repository is not set, and no image is published yet. Build one with packaging/Containerfile, push it where your cluster finds it, and name it there.\n" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) -}}
{{- fail (printf "\n\nautoscaling.minReplicas (%v) is more than autoscaling.maxReplicas (%v). Swap them.\n" $values.autoscaling.minReplicas $values.autoscaling.maxReplicas) -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (not $values.autoscaling.cpu) (not $values.autoscaling.sessions) -}}
{{- fail "\n\nautoscaling.enabled with autoscaling.cpu = 0 and autoscaling.sessions = 0: there is nothing to scale by. Set one of them.\n" -}}
{{- end -}}
{{- include "sealwire-sidecar.guards" (dict "values" $values.agent "where" "agent" "replicas" $replicas "image" (include "sealwire.agentImage" .)) -}}
{{- if and $values.agent.store.kubernetes (eq (include "sealwire.serviceAccount" .) "default") -}}
{{- fail "\n\nagent.store.kubernetes = true with the service account \"default\": everything else in the namespace that runs as it could read the keys. Set serviceAccount.create = true, or name one.\n" -}}
{{- end -}}
{{- if and (gt $replicas 1) (not $values.acceptSeparateRoots) (not $values.agent.store.kubernetes) -}}
{{- fail (printf "\n\n%v replicas with an embedded CA: each agent has a CA of its own, so clients must trust every root. Set replicas to 1 and autoscaling off, or say that it is meant with acceptSeparateRoots = true.\n" $replicas) -}}
{{- end -}}
{{- include "sealwire.guards.node" . -}}
{{- include "sealwire.guards.channels" (dict "values" $values "replicas" $replicas) -}}
{{- include "sealwire.guards.reach" . -}}
{{- if and $values.monitoring.podMonitor.enabled $values.monitoring.serviceMonitor.enabled -}}
{{- fail "\n\nmonitoring.podMonitor and monitoring.serviceMonitor are both enabled: everything would be counted twice. Switch one off.\n" -}}
{{- end -}}
{{- $budget := $values.podDisruptionBudget -}}
{{- if and $budget.enabled (not (kindIs "invalid" $budget.minAvailable)) (not (kindIs "invalid" $budget.maxUnavailable)) -}}
{{- fail "\n\npodDisruptionBudget has both maxUnavailable and minAvailable, and Kubernetes takes one. Set the other to null.\n" -}}
{{- end -}}
{{- end -}}

{{- define "sealwire.guards.node" -}}
{{- $values := .Values -}}
{{- include "sealwire-sidecar.refuse" (dict "config" $values.node.config "where" "node.config" "keys" (list
      "delivery.socket" "listen.address" "admin.address" "admin.socket" "broker.directory" "broker.nats" "drain.delay" "drain.window" "drain.timeout" "drain.sessions_per_second")) -}}
{{- if and $values.node.config.node_id (gt (include "sealwire.mostReplicas" . | int) 1) -}}
{{- fail "\n\nnode.config.node_id with several replicas: each node needs a name of its own. Remove it, and each is called by its pod.\n" -}}
{{- end -}}
{{- $covered := list -}}
{{- range $values.agent.config.certificate -}}{{- $covered = concat $covered .identifiers -}}{{- end -}}
{{- range include "sealwire.serverNames" . | fromJsonArray -}}
{{- $above := printf "*.%s" (splitList "." . | rest | join ".") -}}
{{- if not (or (has . $covered) (has $above $covered)) -}}
{{- fail (printf "\n\nnode.config.server_names has %q, and no certificate is for it: the node would never be ready. Add it to `identifiers` in agent.config.certificate, or remove it.\n" .) -}}
{{- end -}}
{{- end -}}
{{- if not (include "sealwire.serverNames" . | fromJsonArray) -}}
{{- fail "\n\nall certificates say `nodes: []`, so none goes to the node. Remove that from one of them.\n" -}}
{{- end -}}
{{- $tokens := list ($values.node.config.token | default dict) -}}
{{- range $values.node.config.tenant -}}{{- $tokens = append $tokens (.token | default dict) -}}{{- end -}}
{{- $somebody := false -}}
{{- range $tokens -}}
{{- if or .anonymous .keys .jwks .hs256_secret .introspection -}}{{- $somebody = true -}}{{- end -}}
{{- end -}}
{{- if not $somebody -}}
{{- fail "\n\nnode.config.token names no keys: nobody could connect. Set `jwks`, `keys`, `hs256_secret` or `introspection` there, or `anonymous: true` to let in everybody.\n" -}}
{{- end -}}
{{- $needed := include "sealwire.secondsToStop" . | int -}}
{{- with $values.terminationGracePeriodSeconds -}}
{{- if lt (int .) $needed -}}
{{- fail (printf "\n\nterminationGracePeriodSeconds = %v is too short: draining takes up to %v s (preStopSeconds + windowSeconds + timeoutSeconds + 1 in node.drain), and sessions would be cut. Set at least %v, leave it unset, or shorten node.drain.\n" . $needed $needed) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Arguments: values, replicas. */}}
{{- define "sealwire.guards.channels" -}}
{{- $values := .values -}}
{{- range $name, $rules := $values.node.config.namespaces -}}
{{- $durability := dig "durability" "memory" ($rules | default dict) -}}
{{- if and (eq $durability "cluster") (not $values.nats.enabled) -}}
{{- fail (printf "\n\nnode.config.namespaces.%s says durability = \"cluster\", and nats.enabled is false. Enable it and name nats.servers.\n" $name) -}}
{{- end -}}
{{- if and (eq $durability "disk") (not $values.node.persistence.enabled) -}}
{{- fail (printf "\n\nnode.config.namespaces.%s says durability = \"disk\", and there is no disk. Set node.persistence.enabled = true.\n" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (gt .replicas 1) (not $values.nats.enabled) (not $values.acceptSeparateChannels) -}}
{{- fail (printf "\n\n%v replicas without NATS: what is published on one node does not reach subscribers on another. Enable nats and set durability = \"cluster\" in node.config.namespaces, or say that it is meant with acceptSeparateChannels = true.\n" .replicas) -}}
{{- end -}}
{{- with $values.nats -}}
{{- if and .enabled (not .servers) -}}
{{- fail "\n\nnats.enabled without nats.servers. Name them: [\"tls://nats.nats.svc:4222\"].\n" -}}
{{- end -}}
{{- if and .clientCertificate (not .tlsSecret) -}}
{{- fail "\n\nnats.clientCertificate without nats.tlsSecret. Name a Secret with ca.crt, tls.crt and tls.key there.\n" -}}
{{- end -}}
{{- if and .enabled .credentialsSecret (not .requireTls) -}}
{{- fail "\n\nnats.credentialsSecret with nats.requireTls = false: credentials and all that is published could cross the network in clear. Set it to true.\n" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sealwire.guards.reach" -}}
{{- $values := .Values -}}
{{- $http01 := include "sealwire-sidecar.usesHttp01" $values.agent.config -}}
{{- if and $http01 (not $values.solver.enabled) (not $values.service.http01) -}}
{{- fail "\n\na certificate is validated by \"http-01\", and nothing leads port 80 to the agent. Set solver.enabled = true, or service.http01 = true, or use \"dns-01\".\n" -}}
{{- end -}}
{{- if and $values.service.http01 (not $http01) -}}
{{- fail "\n\nservice.http01 = true, and no certificate is validated by \"http-01\". Set it to false.\n" -}}
{{- end -}}
{{- if and $values.solver.ingress.enabled (not (and $http01 $values.solver.enabled)) -}}
{{- fail "\n\nsolver.ingress.enabled = true without a solver: it needs solver.enabled = true and a certificate that is validated by \"http-01\".\n" -}}
{{- end -}}
{{- if and (eq $values.service.type "ClusterIP") (or $values.service.loadBalancerClass $values.service.loadBalancerSourceRanges) -}}
{{- fail "\n\nservice.loadBalancerClass and service.loadBalancerSourceRanges need service.type = LoadBalancer.\n" -}}
{{- end -}}
{{- end -}}
