//! The style sheet and the script, from the binary. Their links change when they do, so that a browser may keep them.

use std::sync::LazyLock;

use axum::http::{header, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use sha2::{Digest, Sha256};

const CSS: &str = include_str!("pages/desk.css");
const SCRIPT: &str = include_str!("pages/desk.js");
const ICON: &str = include_str!("pages/icon.svg");

const ASSETS: [(&str, &str, &str); 3] = [
    ("/desk.css", "text/css; charset=utf-8", CSS),
    ("/desk.js", "text/javascript; charset=utf-8", SCRIPT),
    ("/icon.svg", "image/svg+xml", ICON),
];

pub fn is_asset(path: &str) -> bool {
    ASSETS.iter().any(|(known, ..)| *known == path)
}

/// What their links end with.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let hash = ASSETS.iter().fold(Sha256::new(), |hash, (.., text)| hash.chain_update(text));
        URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
    });
    &VERSION
}

pub async fn asset(uri: Uri) -> Response {
    match ASSETS.iter().find(|(path, ..)| *path == uri.path()) {
        Some((_, kind, text)) => {
            let headers =
                [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "public, max-age=604800")];
            (headers, *text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
