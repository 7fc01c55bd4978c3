//! The list of methods, from which HTTP, gRPC and batches are made: all three do the same.

/// Hands the list to a macro: the name in JSON and in paths, the method of the generated service, request, result and
/// response.
macro_rules! each {
    ($then:ident) => {
        $then! {
            publish: PublishRequest => PublishResult, PublishResponse;
            broadcast: BroadcastRequest => BroadcastResult, BroadcastResponse;
            subscribe: SubscribeRequest => SubscribeResult, SubscribeResponse;
            unsubscribe: UnsubscribeRequest => UnsubscribeResult, UnsubscribeResponse;
            disconnect: DisconnectRequest => DisconnectResult, DisconnectResponse;
            refresh: RefreshRequest => RefreshResult, RefreshResponse;
            presence: PresenceRequest => PresenceResult, PresenceResponse;
            presence_stats: PresenceStatsRequest => PresenceStatsResult, PresenceStatsResponse;
            history: HistoryRequest => HistoryResult, HistoryResponse;
            history_remove: HistoryRemoveRequest => HistoryRemoveResult, HistoryRemoveResponse;
            channels: ChannelsRequest => ChannelsResult, ChannelsResponse;
            info: InfoRequest => InfoResult, InfoResponse;
            rpc: RpcRequest => RpcResult, RpcResponse;
            map_publish: MapPublishRequest => MapPublishResult, MapPublishResponse;
            map_remove: MapRemoveRequest => MapRemoveResult, MapRemoveResponse;
            map_read_state: MapReadStateRequest => MapReadStateResult, MapReadStateResponse;
            map_read_stream: MapReadStreamRequest => MapReadStreamResult, MapReadStreamResponse;
            map_stats: MapStatsRequest => MapStatsResult, MapStatsResponse;
            map_clear: MapClearRequest => MapClearResult, MapClearResponse;
        }
    };
}
pub(super) use each;

macro_rules! names {
    ($($name:ident: $request:ident => $result:ident, $response:ident;)+) => {
        /// Names of all methods.
        pub(crate) const METHODS: [&str; [$(stringify!($name)),+].len() + 1] = [$(stringify!($name),)+ "batch"];
    };
}
each!(names);
