//! `/images`.

use crate::call::Call;
use crate::reply::{Outcome, ok, status};
use crate::route::Handler::{Task, Work};
use crate::route::{Route, route};
use crate::stream::{download, messages};
use crate::upload::Upload;
use crate::version::Version;
use api::image::RegistryAuth;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use engine::{Error, image};
use hyper::{Method, StatusCode};

pub(crate) static ROUTES: [Route; 14] = [
    route(Method::POST, "/images/create", Task(create)),
    route(Method::POST, "/images/load", Task(load)),
    route(Method::GET, "/images/json", Work(list)),
    route(Method::GET, "/images/search", Task(search)),
    route(Method::GET, "/images/get", Task(save)),
    route(Method::GET, "/images/{name*}/get", Task(save)),
    route(Method::GET, "/distribution/{name*}/json", Task(look)).since(Version(1, 30)),
    route(Method::POST, "/auth", Task(login)),
    route(Method::POST, "/images/prune", Work(prune)).since(Version(1, 25)),
    route(Method::GET, "/images/{name*}/json", Work(inspect)),
    route(Method::GET, "/images/{name*}/history", Work(history)),
    route(Method::POST, "/images/{name*}/push", Task(push)),
    route(Method::POST, "/images/{name*}/tag", Work(tag)),
    route(Method::DELETE, "/images/{name*}", Work(remove)),
];

fn list(call: &Call) -> Outcome {
    let query = &call.query;
    let options = image::ListOptions {
        all: query.flag("all"),
        manifests: query.flag("manifests"),
        shared_size: query.flag("shared-size"),
        filters: query.filters()?,
    };
    ok(&image::list(&call.engine, &options)?)
}

fn inspect(call: &Call) -> Outcome {
    let platform = image::parse_platform(call.query.text("platform"))?;
    ok(&image::inspect(&call.engine, call.name(), platform.as_ref(), call.query.flag("manifests"))?)
}

fn history(call: &Call) -> Outcome {
    let platform = image::parse_platform(call.query.text("platform"))?;
    ok(&image::history(&call.engine, call.name(), platform.as_ref())?)
}

fn tag(call: &Call) -> Outcome {
    image::tag(&call.engine, call.name(), call.query.text("repo"), call.query.text("tag"))?;
    status(StatusCode::CREATED)
}

fn remove(call: &Call) -> Outcome {
    let query = &call.query;
    let platforms = platforms(call, "platforms")?;
    ok(&image::remove(&call.engine, call.name(), query.flag("force"), query.flag("noprune"), &platforms)?)
}

fn prune(call: &Call) -> Outcome {
    ok(&image::prune(&call.engine, &call.query.filters()?)?)
}

/// Pull, or with `fromSrc` import.
fn create(call: Call) -> crate::route::Task {
    if call.query.given("fromImage").is_some() { Box::pin(pull(call)) } else { Box::pin(import(call)) }
}

async fn pull(call: Call) -> Outcome {
    let query = &call.query;
    let request = image::PullRequest {
        image: query.text("fromImage").to_owned(),
        tag: query.given("tag").map(str::to_owned),
        platform: query.given("platform").map(str::to_owned),
        auth: registry_auth(&call)?,
    };
    let cancel = engine::Cancel::default();
    let token = cancel.clone();
    messages("pull", move || cancel.cancel(), move |emit| image::pull(&call.engine, request, &token, emit)).await
}

fn save(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let names: Vec<String> = match call.name() {
            "" => call.query.all("names").map(str::to_owned).collect(),
            name => vec![name.to_owned()],
        };
        let platforms = platforms(&call, "platform")?;
        download("save", "application/x-tar", move |out| {
            image::save(&call.engine, &names, &platforms)?.write(&call.engine, out)
        })
        .await
    })
}

fn search(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let request = image::SearchRequest {
            term: call.query.text("term").to_owned(),
            limit: call.query.number("limit")?.unwrap_or(0),
            filters: call.query.filters()?,
            auth: registry_auth(&call)?,
        };
        asked("search", move |cancel| image::search(&call.engine, request, cancel)).await
    })
}

fn look(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let auth = registry_auth(&call)?;
        asked("distribution", move |cancel| image::look(&call.engine, call.name(), auth, cancel)).await
    })
}

fn login(mut call: Call) -> crate::route::Task {
    Box::pin(async move {
        call.read_body().await?;
        let auth: RegistryAuth = call.document()?;
        asked("login", move |cancel| image::login(&call.engine, auth, cancel)).await
    })
}

/// A question to a registry, on a thread of its own: it may take long, and ends when the client is gone.
async fn asked<T: serde::Serialize + Send + 'static>(
    name: &str,
    ask: impl FnOnce(&engine::Cancel) -> engine::Result<T> + Send + 'static,
) -> Outcome {
    let cancel = engine::Cancel::default();
    let token = cancel.clone();
    let _gone = crate::reply::OnDrop::new(move || cancel.cancel());
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(sender.send(ask(&token))))
        .map_err(|error| Error::system("start a thread", error))?;
    match answer.await {
        Ok(result) => ok(&result?),
        Err(_) => Err(Error::new(engine::Kind::System, format!("{name}: the thread has ended"))),
    }
}

fn push(call: Call) -> crate::route::Task {
    Box::pin(async move {
        let request = image::PushRequest {
            image: call.name().to_owned(),
            tag: call.query.given("tag").map(str::to_owned),
            platform: image::parse_platform(call.query.text("platform"))?,
            auth: registry_auth(&call)?,
        };
        let cancel = engine::Cancel::default();
        let token = cancel.clone();
        messages("push", move || cancel.cancel(), move |emit| image::push(&call.engine, request, &token, emit)).await
    })
}

async fn import(mut call: Call) -> Outcome {
    let query = &call.query;
    let request = image::ImportRequest {
        repository: query.text("repo").to_owned(),
        tag: query.text("tag").to_owned(),
        message: query.text("message").to_owned(),
        changes: query.all("changes").map(str::to_owned).collect(),
        platform: query.given("platform").map(str::to_owned),
    };
    let address = Some(query.text("fromSrc").to_owned()).filter(|source| source != "-");
    if address.as_deref() == Some("") {
        return Err(Error::invalid("neither fromImage nor fromSrc is given"));
    }
    let mut upload = Upload::new(call.upload.take());
    let cancel = engine::Cancel::default();
    let token = cancel.clone();
    let work = move |emit: &mut dyn FnMut(api::image::Progress)| {
        let source = match address {
            Some(address) => image::ImportSource::Address(address),
            None => image::ImportSource::Body(&mut upload),
        };
        image::import(&call.engine, request, source, &token, emit)
    };
    messages("import", move || cancel.cancel(), work).await
}

fn load(mut call: Call) -> crate::route::Task {
    Box::pin(async move {
        let quiet = call.query.flag_or("quiet", true);
        let platforms = platforms(&call, "platform")?;
        let mut upload = Upload::new(call.upload.take());
        // As Docker does it, whatever goes wrong is told in the stream.
        let work = move |emit: &mut dyn FnMut(api::image::Progress)| {
            if let Err(error) = image::load(&call.engine, &mut upload, quiet, &platforms, emit) {
                emit(api::image::Progress::error(error.full_text()));
            }
            Ok(())
        };
        messages("load", || (), work).await
    })
}

/// All platforms that a query names.
fn platforms(call: &Call, key: &str) -> engine::Result<Vec<image::Platform>> {
    call.query.all(key).filter_map(|text| image::parse_platform(text).transpose()).collect()
}

/// URL-safe base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `X-Registry-Auth`: base64 of JSON. Clients without credentials send `{}` or nothing; what is broken counts as nothing,
/// as in dockerd.
fn registry_auth(call: &Call) -> engine::Result<Option<RegistryAuth>> {
    let Some(header) = call.headers.get("X-Registry-Auth") else { return Ok(None) };
    Ok(parse_auth(header.as_bytes()))
}

/// The document of a header that is base64 of JSON.
pub(super) fn decode_auth(header: &[u8]) -> engine::Result<Vec<u8>> {
    BASE64.decode(header).map_err(|error| Error::invalid(format!("invalid header: {error}")))
}

fn parse_auth(header: &[u8]) -> Option<RegistryAuth> {
    let json = BASE64.decode(header).ok()?;
    let auth: RegistryAuth = serde_json::from_slice(&json).ok()?;
    Some(auth).filter(|auth| *auth != RegistryAuth::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials() {
        let auth = parse_auth(b"eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6Ij8_In0=").unwrap();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("a", "??"));
        assert!(parse_auth(b"eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6Ij8_In0").is_some());
        for nothing in ["", "e30=", "!!", "bnVsbA=="] {
            assert_eq!(parse_auth(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
