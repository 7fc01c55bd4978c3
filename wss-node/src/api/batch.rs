//! Several methods in one request, one after the other or side by side.

use futures_util::{StreamExt, stream};

use super::fault::Fault;
use super::methods::each;
use super::v1::{BatchRequest, BatchResponse, Command, Reply};
use super::{Api, Caller};

/// Methods in one request.
const MAX_COMMANDS: usize = 1000;
/// Of those, side by side.
const AT_ONCE: usize = 32;

/// Does what a batch asks for. An error in one command does not keep the next from being done.
///
/// # Errors
/// There are too many.
pub(super) async fn run(api: &Api, caller: &Caller, request: BatchRequest) -> Result<BatchResponse, Fault> {
    let count = request.commands.len();
    if count > MAX_COMMANDS {
        let fault = Fault::bad(format!("commands: {count} are too many, at most {MAX_COMMANDS} are taken"));
        return api.counted("batch", Err(fault));
    }
    let at_once = if request.parallel { AT_ONCE } else { 1 };
    let commands = request.commands.into_iter().map(|command| Box::pin(one(api, caller, command)));
    let replies = stream::iter(commands).buffered(at_once).collect().await;
    api.counted("batch", Ok(BatchResponse { replies }))
}

macro_rules! dispatch {
    ($($name:ident: $request:ident => $result:ident, $response:ident;)+) => {
        async fn one(api: &Api, caller: &Caller, command: Command) -> Reply {
            let asked = [$(command.$name.is_some()),+].into_iter().filter(|is_some| *is_some).count();
            let failed = |fault: Fault| Reply { error: Some(fault.into()), ..Reply::default() };
            if asked > 1 {
                return failed(Fault::bad("a command holds one method"));
            }
            $(if let Some(request) = command.$name {
                let called = api.$name(caller, request).await;
                return match api.counted(stringify!($name), called) {
                    Ok(result) => Reply { $name: Some(result), ..Reply::default() },
                    Err(fault) => failed(fault),
                };
            })+
            failed(Fault::not_found("no known method in the command"))
        }
    };
}
each!(dispatch);
