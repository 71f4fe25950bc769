//! The OpenAPI document, from the table and the wire types.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::table::{Answer, Body, Route, Type, routes};
use crate::wire::problem::ProblemBody;

fn reference(of: Type) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", (of.name)())})
}

fn page(of: Type) -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"type": "array", "items": reference(of)},
            "next_cursor": {"type": "string"},
        },
    })
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut all: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|s| s.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    for (name, text) in route.query {
        all.push(
            json!({"name": name, "in": "query", "description": text, "schema": {"type": "string"}}),
        );
    }
    let header = |name: &str, text: &str| json!({"name": name, "in": "header", "description": text, "schema": {"type": "string"}});
    match route.method {
        "POST" => all.push(header(
            "Idempotency-Key",
            "Done once, answered the same for 24 hours",
        )),
        "PUT" | "DELETE" if route.path.contains('{') => {
            all.push(header(
                "If-Match",
                "ETag of the object as it was read, or *",
            ));
        }
        _ => {}
    }
    all
}

fn operation(route: &Route, types: &mut Vec<Type>) -> Value {
    let mut note = |of: Type| {
        types.push(of);
        of
    };
    let answer = match route.answer {
        Answer::None => json!({"description": route.summary}),
        Answer::Text(kind) => json!({"description": route.summary, "content": {kind: {}}}),
        Answer::One(of) if route.path.ends_with("/events") => {
            json!({"description": route.summary, "content": {"text/event-stream": {"schema": reference(note(of))}}})
        }
        Answer::One(of) => {
            json!({"description": route.summary, "content": {"application/json": {"schema": reference(note(of))}}})
        }
        Answer::Page(of) => {
            json!({"description": route.summary, "content": {"application/json": {"schema": page(note(of))}}})
        }
    };
    let problem = json!({
        "description": "A problem",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    let body = match route.body {
        Body::None => None,
        Body::Json(of, many) => {
            let one = reference(note(of));
            let schema = match many {
                true => json!({"oneOf": [{"type": "array", "items": one}, one]}),
                false => one,
            };
            Some(json!({"required": true, "content": {"application/json": {"schema": schema}}}))
        }
        Body::MaybeJson(of) => {
            let schema = reference(note(of));
            Some(json!({"required": false, "content": {"application/json": {"schema": schema}}}))
        }
        Body::Wasm => Some(json!({
            "required": true,
            "content": {"application/wasm": {"schema": {"type": "string", "format": "binary"}}},
        })),
    };
    let name = route
        .path
        .trim_start_matches("/api/v1/")
        .replace(['/', '{', '}', ':', '.'], "-");
    let mut operation = json!({
        "summary": route.summary,
        "operationId": format!("{}-{}", route.method.to_lowercase(), name.trim_matches('-')),
        "parameters": parameters(route),
        "responses": {route.status.to_string(): answer, "default": problem},
    });
    if let Some(of) = route.dry {
        operation["responses"]["200"] = json!({
            "description": "What would happen; nothing was done",
            "content": {"application/json": {"schema": reference(note(of))}},
        });
    }
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    operation
}

/// OpenAPI 3.1 as JSON.
#[must_use]
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut types = Vec::new();
    for route in routes() {
        let methods = paths.entry(route.path).or_default();
        methods.insert(route.method.to_lowercase(), operation(&route, &mut types));
    }
    let mut schemas = Vec::new();
    for of in types {
        (of.collect)(&mut schemas);
    }
    schemas.push((
        <ProblemBody as utoipa::ToSchema>::name().into_owned(),
        <ProblemBody as utoipa::PartialSchema>::schema(),
    ));
    <ProblemBody as utoipa::ToSchema>::schemas(&mut schemas);
    let schemas: BTreeMap<String, Value> = schemas
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Loadmaster",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A scheduler whose decisions are made by sandboxed policies.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas},
    })
}
