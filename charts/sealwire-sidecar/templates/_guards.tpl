{{/*
Fails with the fix on what cannot work. Arguments: values, where (the path of the values, for messages),
replicas (how many pods there may be), image.
*/}}
{{- define "sealwire-sidecar.guards" -}}
{{- $values := .values -}}
{{- $where := .where -}}
{{- $config := $values.config -}}
{{- if not .image -}}
{{- fail (printf "\n\n%s.image.repository is not set, and no image is published yet. Build one with packaging/Containerfile, push it where your cluster finds it, and name it there.\n" $where) -}}
{{- end -}}
{{- if not $config.certificate -}}
{{- fail (printf "\n\n%s.config.certificate is empty: there is nothing to serve. Add one with `name` and `identifiers`, and an issuer in %s.config.acme or %s.config.internal.\n" $where $where $where) -}}
{{- end -}}
{{- include "sealwire-sidecar.refuse" (dict "config" $config "where" (printf "%s.config" $where) "keys" (list
      "state_dir" "delivery.socket" "delivery.allow_uids" "delivery.allow_gids" "admin.socket" "admin.metrics" "http01.listen" "http01.stateless"
      "kubernetes.name" "kubernetes.server" "kubernetes.ca_file" "kubernetes.token_file" "kubernetes.namespace")) -}}
{{- $issuers := include "sealwire-sidecar.issuers" $config | fromJsonArray -}}
{{- if not $issuers -}}
{{- fail (printf "\n\nno issuer is configured. Add %s.config.acme.NAME or %s.config.internal.NAME.\n" $where $where) -}}
{{- end -}}
{{- range $certificate := $config.certificate -}}
{{- if and (not $certificate.issuers) (gt (len $issuers) 1) -}}
{{- fail (printf "\n\ncertificate %q says no `issuers`, and there are several: %s. Name them in their order.\n" $certificate.name (join ", " $issuers)) -}}
{{- end -}}
{{- range $certificate.issuers -}}
{{- if not (has . $issuers) -}}
{{- fail (printf "\n\ncertificate %q names the issuer %q, which is not configured. There are: %s.\n" $certificate.name . (join ", " $issuers)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if has "tls-alpn-01" (include "sealwire-sidecar.challenges" $config | fromJsonArray) -}}
{{- fail "\n\nchallenge \"tls-alpn-01\": CAs ask on port 443, which leads to the server and not to the agent beside it. Use \"http-01\" or \"dns-01\".\n" -}}
{{- end -}}
{{- $usesAcme := include "sealwire-sidecar.usesAcme" $config -}}
{{- $shared := $values.store.kubernetes -}}
{{- if and $usesAcme (gt (int .replicas) 1) (not $shared) -}}
{{- fail (printf "\n\n%v replicas with an ACME issuer: each agent would order for itself (Let's Encrypt gives 5 certificates of the same names in a week), and a challenge may reach the wrong pod. Set %s.store.kubernetes = true, so that one of them orders for all, or replicas to 1 and autoscaling off.\n" .replicas $where) -}}
{{- end -}}
{{- if and $shared $config.internal -}}
{{- fail (printf "\n\n%s.store.kubernetes = true with an embedded CA: its root is not shared. Remove %s.config.internal, or set %s.store.kubernetes = false.\n" $where $where $where) -}}
{{- end -}}
{{- if and (hasKey $config "kubernetes") (not $shared) -}}
{{- fail (printf "\n\n%s.config.kubernetes without %s.store.kubernetes = true: the Role, the Secrets and the Lease would not be there. Set it.\n" $where $where) -}}
{{- end -}}
{{- if and $shared $values.state.existingClaim -}}
{{- fail (printf "\n\n%s.state.existingClaim with %s.store.kubernetes = true: keys stay in memory and in Secrets. Remove one of them.\n" $where $where) -}}
{{- end -}}
{{- range $config.certificate -}}
{{- if and $shared (not (regexMatch "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$" .name)) -}}
{{- fail (printf "\n\ncertificate %q: its name becomes part of a Secret's. Use a-z, 0-9, '-' and '.', with a letter or digit at each end.\n" .name) -}}
{{- end -}}
{{- end -}}
{{- if and (not $values.state.persistent) (not $values.state.acceptLoss) (not $shared) -}}
{{- fail (printf "\n\n%s.state.persistent = false: every new pod orders anew, against the CA's limits, and an embedded CA makes another root that no client trusts. Leave it true, or say so with %s.state.acceptLoss = true.\n" $where $where) -}}
{{- end -}}
{{- if and (not $values.state.persistent) $values.state.existingClaim -}}
{{- fail (printf "\n\n%s.state.existingClaim goes with %s.state.persistent = true. Remove one of them.\n" $where $where) -}}
{{- end -}}
{{- if and $values.state.existingClaim (gt (int .replicas) 1) -}}
{{- fail (printf "\n\n%s.state.existingClaim with %v replicas: a state directory is for one agent. Unset it, so that each replica has a claim of its own, or set replicas to 1.\n" $where .replicas) -}}
{{- end -}}
{{- if eq (int $values.uid) (int $values.serverUid) -}}
{{- fail (printf "\n\n%s.uid and %s.serverUid are the same: the server could read what is the agent's alone. Choose two.\n" $where $where) -}}
{{- end -}}
{{- if $values.startup.certificate -}}
{{- $names := list -}}
{{- range $config.certificate -}}{{- $names = append $names .name -}}{{- end -}}
{{- if not (has $values.startup.certificate $names) -}}
{{- fail (printf "\n\n%s.startup.certificate = %q is not configured: the server would never start. There are: %s.\n" $where $values.startup.certificate (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
