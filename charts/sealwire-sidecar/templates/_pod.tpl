{{/* REPOSITORY:TAG or REPOSITORY@DIGEST; empty without a repository. Arguments: image, tag (when it has none). */}}
{{- define "sealwire-sidecar.image" -}}
{{- with .image.repository -}}
{{- if $.image.digest -}}{{ . }}@{{ $.image.digest }}{{- else -}}{{ . }}:{{ $.image.tag | default $.tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Of the pod: what Pod Security "restricted" wants. Argument: values. */}}
{{- define "sealwire-sidecar.podSecurityContext" -}}
runAsNonRoot: true
fsGroup: {{ int .values.gid }}
# Otherwise each start would open the agent's keys (0600) to the group, and the agent refuses such keys.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Of each container, again: a container may stand alone before an admission. Arguments: uid, gid. */}}
{{- define "sealwire-sidecar.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsGroup: {{ int .gid }}
runAsNonRoot: true
runAsUser: {{ int .uid }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/*
The agent, for initContainers: first of them, so that a failed one of yours does not hold up certificates.
Arguments: image, values, name (of your workload).
*/}}
{{- define "sealwire-sidecar.container" -}}
{{- $values := .values -}}
name: sealwire
image: {{ .image | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
# A native sidecar: started before the server, stopped after it.
restartPolicy: Always
command: [/usr/bin/sealwire]
args: [run]
{{- with $values.env }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $http01 := include "sealwire-sidecar.usesHttp01" $values.config }}
{{- if or $http01 $values.metrics.enabled }}
ports:
  {{- if $http01 }}
  - name: http01
    containerPort: {{ int $values.http01.port }}
  {{- end }}
  {{- if $values.metrics.enabled }}
  - name: agent-metrics
    containerPort: {{ int $values.metrics.port }}
  {{- end }}
{{- end }}
# The server starts once there is a certificate. Reads the volume and asks nobody: a busy agent is no reason to wait.
startupProbe:
  exec:
    command: [/usr/bin/sealwire, ready, {{ include "sealwire-sidecar.firstCertificate" $values | quote }}]
  periodSeconds: {{ int $values.startup.periodSeconds }}
  timeoutSeconds: 10
  failureThreshold: {{ int $values.startup.failureThreshold }}
# The agent answers; whether a CA does makes no difference.
livenessProbe:
  exec:
    command: [/usr/bin/sealwire, status]
  periodSeconds: 30
  timeoutSeconds: 15
  failureThreshold: 4
resources: {{- toYaml $values.resources | nindent 2 }}
securityContext: {{- include "sealwire-sidecar.securityContext" (dict "uid" $values.uid "gid" $values.gid) | nindent 2 }}
volumeMounts:
  - name: sealwire-config
    mountPath: /etc/sealwire/sealwire.toml
    subPath: sealwire.toml
    readOnly: true
  - name: sealwire-run
    mountPath: /run/sealwire
  - name: sealwire-admin
    mountPath: /run/sealwire-admin
  - name: sealwire-state
    mountPath: /var/lib/sealwire
  {{- range $values.secrets }}
  - name: sealwire-secret-{{ . | replace "." "-" }}
    mountPath: /etc/sealwire/secrets/{{ . }}
    readOnly: true
  {{- end }}
  {{- range $values.configMaps }}
  - name: sealwire-file-{{ . | replace "." "-" }}
    mountPath: /etc/sealwire/files/{{ . }}
    readOnly: true
  {{- end }}
  {{- if or $values.token.project $values.store.kubernetes }}
  - name: sealwire-token
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
  {{- end }}
{{- end -}}

{{/*
Volumes of the pod. Arguments: values, name, claim (of the state; without it, and with a persistent state, the
workload is a StatefulSet that brings `sealwire-state` by `sealwire-sidecar.claimTemplate`).
*/}}
{{- define "sealwire-sidecar.volumes" -}}
{{- $values := .values -}}
- name: sealwire-config
  configMap:
    name: {{ .name }}-agent
# In memory: what goes over the socket never meets a disk.
- name: sealwire-run
  emptyDir:
    medium: Memory
    sizeLimit: {{ $values.socket.sizeLimit }}
- name: sealwire-admin
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- if not (include "sealwire-sidecar.persistent" $values) }}
- name: sealwire-state
  emptyDir:
    medium: Memory
    sizeLimit: {{ $values.state.size }}
{{- else if $values.state.existingClaim | default .claim }}
- name: sealwire-state
  persistentVolumeClaim:
    claimName: {{ $values.state.existingClaim | default .claim }}
{{- end }}
{{- range $values.secrets }}
- name: sealwire-secret-{{ . | replace "." "-" }}
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- range $values.configMaps }}
- name: sealwire-file-{{ . | replace "." "-" }}
  configMap:
    name: {{ . }}
{{- end }}
{{- if or $values.token.project $values.store.kubernetes }}
- name: sealwire-token
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: {{ int $values.token.expirationSeconds }}
          {{- with $values.token.audience }}
          audience: {{ . | quote }}
          {{- end }}
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}
{{- end -}}

{{/* What the server mounts: the directory of the socket, and nothing of the agent's. */}}
{{- define "sealwire-sidecar.serverMount" -}}
- name: sealwire-run
  mountPath: /run/sealwire
  readOnly: true
{{- end -}}

{{/* "true" if the state is on a volume that outlives the pod. With Secrets it is in memory. Argument: the agent's values. */}}
{{- define "sealwire-sidecar.persistent" -}}
{{- if and .state.persistent (not .store.kubernetes) -}}true{{- end -}}
{{- end -}}

{{- define "sealwire-sidecar.claimSpec" -}}
accessModes: [ReadWriteOnce]
{{- with .values.state.storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .values.state.size }}
{{- end -}}

{{/* For volumeClaimTemplates of a StatefulSet. Argument: values. */}}
{{- define "sealwire-sidecar.claimTemplate" -}}
{{- if and (include "sealwire-sidecar.persistent" .values) (not .values.state.existingClaim) -}}
- metadata:
    name: sealwire-state
  spec: {{- include "sealwire-sidecar.claimSpec" . | nindent 4 }}
{{- end -}}
{{- end -}}

{{/* The claim for a Deployment. It outlives the release: it holds account and keys. Arguments: values, name, labels. */}}
{{- define "sealwire-sidecar.claim" -}}
{{- if and (include "sealwire-sidecar.persistent" .values) (not .values.state.existingClaim) -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ .name }}-agent
  labels: {{- toYaml .labels | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
spec: {{- include "sealwire-sidecar.claimSpec" . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* A Service that CAs reach before the pod is ready. Arguments: values, name, labels, selector (both maps). */}}
{{- define "sealwire-sidecar.solverService" -}}
{{- if include "sealwire-sidecar.usesHttp01" .values.config -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .name }}-http01
  labels: {{- toYaml .labels | nindent 4 }}
spec:
  # The pod is ready once it has a certificate, and it has one once the CA was answered.
  publishNotReadyAddresses: true
  selector: {{- toYaml .selector | nindent 4 }}
  ports:
    - name: http01
      port: 80
      # A number: Services find no names of a native sidecar's ports before Kubernetes 1.32.
      targetPort: {{ int .values.http01.port }}
      appProtocol: http
{{- end -}}
{{- end -}}
