//! One call of instant-acme: repeated while the CA refuses the nonce, and with its error in our words.

/// A CA may refuse any nonce (RFC 8555 section 6.5); instant-acme tries three times. Pebble refuses 5 % to
/// 30 % on purpose, so that three in a row are common and thirty are not.
pub(super) const NONCE_ROUNDS: usize = 10;

/// `call!(ca, "do what", future)` evaluates the future expression anew for each round, awaits it, and gives
/// `Result<T, IssueError>`. With `raw` instead of the first two it gives what the CA answered last as well:
/// `Result<(T, Option<Answer>), (instant_acme::Error, Option<Answer>)>`.
///
/// A macro, because a function would need a closure that lends its `&mut Order` to the future it returns,
/// and such a future cannot be proven `Send` (no bound can name it on stable Rust).
macro_rules! call {
    (raw, $call:expr) => {{
        let mut round = 1;
        loop {
            let (result, answer) = $crate::issuer::acme::http::recorded($call).await;
            match result {
                Ok(value) => break Ok((value, answer)),
                Err(error)
                    if round < $crate::issuer::acme::call::NONCE_ROUNDS
                        && $crate::issuer::acme::problem::is_bad_nonce(&error) =>
                {
                    round += 1;
                }
                Err(error) => break Err((error, answer)),
            }
        }
    }};
    ($ca:expr, $doing:expr, $call:expr) => {
        $crate::issuer::acme::call::call!(raw, $call)
            .map(|(value, _)| value)
            .map_err(|(error, answer)| $ca.error($doing, &error, answer.as_ref()))
    };
}

pub(super) use call;
