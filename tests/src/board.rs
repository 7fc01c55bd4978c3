//! Serves `examples/board`: the page and the official client, which `tests/tools/install` brings.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::tools;

/// What the page needs of a node: notes that stay, and cursors that go with those who moved them.
pub const NAMESPACES: &str = "[namespaces.board]\nkind = \"map\"\nkey_ttl = \"1h\"\n\
                              [namespaces.cursors]\nkind = \"map\"\nkey_ttl = \"15s\"\n";

/// Where the official client is.
#[must_use]
pub fn client() -> PathBuf {
    tools::dir().join("js/node_modules/centrifuge/dist/centrifuge.js")
}

/// Serves both until the runtime ends. Nothing is read from outside but requests for two paths.
///
/// # Errors
/// A file is missing, or the address is taken.
pub async fn serve(address: SocketAddr) -> Result<()> {
    let page = tools::repository().join("examples/board/index.html");
    let [page, client] = [page, client()].map(|path| {
        std::fs::read_to_string(&path).with_context(|| format!("{}: run tests/tools/install", path.display()))
    });
    let (page, client) = (page?, client?);
    let listener = TcpListener::bind(address).await.with_context(|| format!("{address} for the board"))?;
    let routes = Router::new()
        .route("/", get(move || async { ([(CONTENT_TYPE, "text/html; charset=utf-8")], page) }))
        .route("/centrifuge.js", get(move || async { ([(CONTENT_TYPE, "text/javascript")], client) }));
    tokio::spawn(async { axum::serve(listener, routes).await });
    Ok(())
}
