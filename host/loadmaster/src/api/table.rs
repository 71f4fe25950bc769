//! Every route, once: method, path, handler, limits, and what the document says.

use axum::response::Response;
use futures_util::future::BoxFuture;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::request::Request;
use super::{
    catalog, decisions, events, host, map, named, nodes, policies, scaling, why, work, yielding,
};
use crate::daemon::LiveEvent;
use crate::page;
use crate::wire::quota::{Budget, Entry, Queue, Quota};
use crate::wire::view as v;
use crate::wire::{decision as d, job as j, node as n, pod as p, policy as y, scaling as s};
use crate::wire::{plan as l, usage as u, what_if as w, why as b};

/// What a request competes with for places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Health,
    Read,
    Write,
    Upload,
    Watch,
}

/// A type in the document.
#[derive(Clone, Copy)]
pub(crate) struct Type {
    pub(crate) name: fn() -> String,
    pub(crate) collect: fn(&mut Vec<(String, RefOr<Schema>)>),
}

fn of<T: ToSchema>() -> Type {
    Type {
        name: || T::name().into_owned(),
        collect: |all| {
            all.push((T::name().into_owned(), T::schema()));
            T::schemas(all);
        },
    }
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    None,
    Json(Type, bool),
    MaybeJson(Type),
    Wasm,
}

/// What an answer carries.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    None,
    Text(&'static str),
    One(Type),
    Page(Type),
}

pub(crate) type Handler = fn(Request) -> BoxFuture<'static, Result<Response, crate::wire::Problem>>;

/// One method of one path.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) handler: Handler,
    pub(crate) class: Class,
    pub(crate) summary: &'static str,
    pub(crate) query: &'static [(&'static str, &'static str)],
    pub(crate) body: Body,
    pub(crate) body_bytes: usize,
    pub(crate) status: u16,
    pub(crate) answer: Answer,
    /// Answered with 200 instead when nothing was to be done.
    pub(crate) dry: Option<Type>,
}

/// JSON bodies: a node with all its links is 4 KiB.
const BODY_BYTES: usize = 256 << 10;
/// Batches: 10 000 nodes.
const BATCH_BYTES: usize = 16 << 20;
/// Components, with an interpreter inside.
const COMPONENT_BYTES: usize = 32 << 20;

const PAGING: &[(&str, &str)] = &[
    ("cursor", "next_cursor of the page before"),
    ("limit", "objects on a page, up to 1000"),
];

macro_rules! route {
    ($method:ident $path:literal $handler:path, $class:ident, $summary:literal, $status:literal $answer:expr) => {
        Route {
            method: stringify!($method),
            path: $path,
            handler: |request| Box::pin($handler(request)),
            class: Class::$class,
            summary: $summary,
            query: &[],
            body: Body::None,
            body_bytes: BODY_BYTES,
            status: $status,
            answer: $answer,
            dry: None,
        }
    };
}

impl Route {
    fn takes<T: ToSchema>(self) -> Self {
        Self {
            body: Body::Json(of::<T>(), false),
            ..self
        }
    }

    fn takes_many<T: ToSchema>(self) -> Self {
        Self {
            body: Body::Json(of::<T>(), true),
            body_bytes: BATCH_BYTES,
            ..self
        }
    }

    fn may_take<T: ToSchema>(self) -> Self {
        Self {
            body: Body::MaybeJson(of::<T>()),
            ..self
        }
    }

    fn takes_wasm(self) -> Self {
        Self {
            body: Body::Wasm,
            body_bytes: COMPONENT_BYTES,
            ..self
        }
    }

    /// What a dry run answers.
    fn also<T: ToSchema>(self) -> Self {
        Self {
            dry: Some(of::<T>()),
            ..self
        }
    }

    fn asks(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }
}

/// Every route.
pub(crate) fn routes() -> Vec<Route> {
    use Answer::{None as Nothing, One, Page, Text};
    let html = "text/html; charset=utf-8";
    vec![
        // Nodes.
        route!(GET "/api/v1/nodes" nodes::list, Read, "Nodes, in order of their rows", 200 Page(of::<v::NodeView>())).asks(PAGING),
        route!(GET "/api/v1/nodes/{name}" nodes::get, Read, "A node as it is now", 200 One(of::<v::NodeView>())),
        route!(PUT "/api/v1/nodes/{name}" nodes::put, Write, "Add a node or change its description; cordon it with cordoned", 200 One(of::<v::NodeView>())).takes::<n::Node>(),
        route!(DELETE "/api/v1/nodes/{name}" nodes::delete, Write, "Remove a node; its pods wait again", 204 Nothing),
        route!(POST "/api/v1/nodes:batch" nodes::batch, Write, "Add or change many nodes, whatever they were", 200 One(of::<v::Applied>())).takes_many::<n::Node>(),
        // Jobs and pods.
        route!(GET "/api/v1/jobs" work::list_jobs, Read, "Jobs, by id", 200 Page(of::<v::JobView>())).asks(PAGING),
        route!(POST "/api/v1/jobs" work::submit_job, Write, "Submit a job; with dry_run the answer is what would happen (200)", 201 One(of::<v::JobView>())).takes::<j::Job>().asks(&[("dry_run", "true submits nothing and answers what would happen (schema WhatIf)")]).also::<w::WhatIf>(),
        route!(GET "/api/v1/jobs/{id}/why" why::job, Read, "Why a job waits, and what would help", 200 One(of::<b::Why>())),
        route!(GET "/api/v1/jobs/{id}" work::get_job, Read, "A job with its pods", 200 One(of::<v::JobDetail>())),
        route!(DELETE "/api/v1/jobs/{id}" work::delete_job, Write, "Delete a job and stop its pods", 204 Nothing),
        route!(POST "/api/v1/jobs/{id}/scale" work::scale_job, Write, "Say how many pods a service should have", 200 One(of::<v::JobView>())).takes::<work::Scale>(),
        route!(GET "/api/v1/pods" work::list_pods, Read, "Pods that wait or run, by name", 200 Page(of::<v::PodView>())).asks(&[
            ("cursor", "next_cursor of the page before"),
            ("limit", "objects on a page, up to 1000"),
            ("phase", "waiting or running"),
            ("reason", "reason code of waiting pods"),
            ("node", "node they run on"),
            ("job", "job they belong to"),
        ]),
        route!(POST "/api/v1/pods" work::submit_pods, Write, "Submit one pod, or a list of pods", 201 Page(of::<v::Placed>())).takes_many::<p::Pod>(),
        route!(GET "/api/v1/pods/{name}" work::get_pod, Read, "A pod as it is now", 200 One(of::<v::PodView>())),
        route!(GET "/api/v1/pods/{name}/why" why::pod, Read, "Why a pod waits, and what would help", 200 One(of::<b::Why>())),
        route!(POST "/api/v1/pods/{name}/finished" work::finished, Write, "A pod ended", 204 Nothing).may_take::<work::Finished>(),
        route!(POST "/api/v1/pods/{name}/evict" yielding::evict, Write, "Ask a running pod to leave, within budgets and guards", 200 One(of::<v::PodView>())),
        route!(POST "/api/v1/pods/{name}/evicted" yielding::evicted, Write, "A pod that was asked to leave has stopped (for agents)", 200 One(of::<v::PodView>())),
        route!(POST "/api/v1/pods/{name}/checkpointed" yielding::checkpointed, Write, "A running pod has written a checkpoint (for agents)", 200 One(of::<v::PodView>())),
        // Who may use how much.
        route!(GET "/api/v1/quotas" named::list::<Quota>, Read, "Quotas as a tree, every node under its parent", 200 Page(of::<u::QuotaView>())),
        route!(GET "/api/v1/quotas/{name}" named::get::<Quota>, Read, "A quota as it is now", 200 One(of::<u::QuotaView>())),
        route!(PUT "/api/v1/quotas/{name}" named::put::<Quota>, Write, "Add a capacity group or cohort, or change it", 200 One(of::<u::QuotaView>())).takes::<Quota>(),
        route!(DELETE "/api/v1/quotas/{name}" named::delete::<Quota>, Write, "Remove a quota that nobody uses", 204 Nothing),
        route!(GET "/api/v1/queues" named::list::<Queue>, Read, "Queues, with the first that wait in each", 200 Page(of::<u::QueueView>())),
        route!(GET "/api/v1/queues/{name}" named::get::<Queue>, Read, "A queue and who waits in it, in order", 200 One(of::<u::QueueView>())),
        route!(PUT "/api/v1/queues/{name}" named::put::<Queue>, Write, "Add a queue or change it", 200 One(of::<u::QueueView>())).takes::<Queue>(),
        route!(DELETE "/api/v1/queues/{name}" named::delete::<Queue>, Write, "Remove a queue that nobody uses", 204 Nothing),
        route!(POST "/api/v1/queues/{name}/suspend" named::suspend, Write, "Admit nothing more from a queue", 200 One(of::<u::QueueView>())),
        route!(POST "/api/v1/queues/{name}/resume" named::resume, Write, "Admit from a queue again", 200 One(of::<u::QueueView>())),
        route!(GET "/api/v1/catalog" catalog::list, Read, "What is known of applications and images", 200 Page(of::<Entry>())).asks(&[
            ("cursor", "next_cursor of the page before"),
            ("limit", "objects on a page, up to 1000"),
            ("catalog", "app or image"),
        ]),
        route!(POST "/api/v1/catalog" catalog::put, Write, "Add or replace one entry, or a list of entries", 200 One(of::<v::Applied>())).takes_many::<Entry>(),
        route!(GET "/api/v1/catalog/{catalog}/{name}" catalog::get, Read, "One entry", 200 One(of::<Entry>())),
        route!(DELETE "/api/v1/catalog/{catalog}/{name}" catalog::delete, Write, "Remove an entry", 204 Nothing),
        // Who starts together, and who yields.
        route!(GET "/api/v1/gangs" yielding::gangs, Read, "Gangs, by job", 200 Page(of::<u::GangView>())).asks(PAGING),
        route!(GET "/api/v1/gangs/{id}" yielding::gang, Read, "A gang as it is now", 200 One(of::<u::GangView>())),
        route!(GET "/api/v1/plans" yielding::plans, Read, "Who yields for whom: plans in progress, then the latest finished ones", 200 Page(of::<l::Plan>())).asks(&[("phase", "leaving, done or dissolved")]),
        route!(GET "/api/v1/plans/{id}" yielding::plan, Read, "One plan", 200 One(of::<l::Plan>())),
        route!(GET "/api/v1/budgets" named::list::<Budget>, Read, "Disruption budgets, with what they allow now", 200 Page(of::<u::BudgetView>())),
        route!(GET "/api/v1/budgets/{name}" named::get::<Budget>, Read, "A disruption budget as it is now", 200 One(of::<u::BudgetView>())),
        route!(PUT "/api/v1/budgets/{name}" named::put::<Budget>, Write, "Add a disruption budget or change it", 200 One(of::<u::BudgetView>())).takes::<Budget>(),
        route!(DELETE "/api/v1/budgets/{name}" named::delete::<Budget>, Write, "Remove a disruption budget", 204 Nothing),
        // Decisions.
        route!(GET "/api/v1/decisions" decisions::list, Read, "Decisions, newest first", 200 Page(of::<d::Decision>())).asks(&[
            ("cursor", "next_cursor of the page before"),
            ("limit", "objects on a page, up to 1000"),
            ("pod", "only about this pod"),
        ]),
        route!(GET "/api/v1/decisions/{id}" decisions::get, Read, "A decision with its score table and what decided it", 200 One(of::<v::DecisionDetail>())).asks(&[("explain", "true asks the policies for the parts of their scores")]),
        // Policies.
        route!(GET "/api/v1/policies" policies::list, Read, "Every policy of this host", 200 Page(of::<y::Policy>())),
        route!(POST "/api/v1/policies" policies::upload, Upload, "Upload a policy component", 201 One(of::<y::Policy>())).takes_wasm().asks(&[("profile", "standard or interpreter: the limits it runs under")]),
        route!(GET "/api/v1/policies/{name}" policies::versions, Read, "Versions of a policy", 200 Page(of::<y::Policy>())),
        route!(GET "/api/v1/policies/{name}/{version}" policies::get, Read, "One policy", 200 One(of::<y::Policy>())),
        route!(GET "/api/v1/hooks" policies::hooks, Read, "What decides, for every kind", 200 Page(of::<y::Hook>())),
        route!(GET "/api/v1/hooks/{kind}" policies::hook, Read, "What decides for one kind", 200 One(of::<y::Hook>())),
        route!(PUT "/api/v1/hooks/{kind}" policies::activate, Upload, "Make a set of policies decide; needs If-Match", 200 One(of::<y::Hook>())).takes::<y::HookRequest>().asks(&[("dry_run", "true checks the set, its settings and the revision, and changes nothing; the answer is the hook as it is")]),
        route!(POST "/api/v1/hooks/{kind}/rollback" policies::rollback, Write, "Back to the set before", 200 One(of::<y::Hook>())).may_take::<policies::RollbackRequest>(),
        // Replicas over time.
        route!(GET "/api/v1/scaling" scaling::list, Read, "Scaled workloads", 200 Page(of::<v::ScalingView>())),
        route!(GET "/api/v1/scaling/{workload}" scaling::get, Read, "A scaled workload with its latest decisions", 200 One(of::<v::ScalingView>())).asks(&[("series", "samples to show, newest last")]),
        route!(PUT "/api/v1/scaling/{workload}" scaling::put, Write, "Scale a workload, or change how", 200 One(of::<v::ScalingView>())).takes::<s::Scaling>(),
        route!(DELETE "/api/v1/scaling/{workload}" scaling::delete, Write, "Scale a workload no longer", 204 Nothing),
        route!(POST "/api/v1/metrics/samples" scaling::samples, Write, "Present load of workloads", 200 One(of::<v::Applied>())).takes::<scaling::Samples>(),
        route!(GET "/api/v1/calendar" scaling::calendar, Read, "What people know in advance", 200 Page(of::<s::CalendarEntry>())),
        route!(POST "/api/v1/calendar" scaling::put_entry, Write, "Add or replace a calendar entry", 201 One(of::<s::CalendarEntry>())).takes::<s::CalendarEntry>(),
        route!(DELETE "/api/v1/calendar/{name}" scaling::delete_entry, Write, "Remove a calendar entry", 204 Nothing),
        // The host.
        route!(GET "/api/v1/summary" host::summary, Read, "The cluster in numbers", 200 One(of::<v::Summary>())),
        route!(GET "/api/v1/mode" host::mode, Read, "Declared state of the cluster", 200 One(of::<host::ModeBody>())),
        route!(PUT "/api/v1/mode" host::set_mode, Write, "Declare the state of the cluster", 200 One(of::<host::ModeBody>())).takes::<host::ModeBody>(),
        route!(GET "/api/v1/guards" host::guards, Read, "What keeps the host from acting", 200 Page(of::<v::Guard>())),
        route!(GET "/api/v1/guards/{id}" host::guard, Read, "One guard", 200 One(of::<v::Guard>())),
        route!(POST "/api/v1/guards/{id}/approve" host::approve, Write, "Let a guard go", 200 One(of::<v::Guard>())).takes::<v::Approval>(),
        route!(GET "/api/v1/events" events::stream, Watch, "What happens, live (server-sent events)", 200 One(of::<LiveEvent>())),
        route!(GET "/api/v1/map" map::map, Read, "Every node and GPU in columns, for the page", 200 One(of::<page::Map>())),
        route!(GET "/api/v1/map/events" map::changes, Watch, "Changes of the map, a few times a second (server-sent events)", 200 One(of::<page::Now>())).asks(&[("after", "cursor of the map")]),
        route!(GET "/api/v1/timeline" map::timeline, Read, "The last ten minutes, second by second", 200 One(of::<page::Timeline>())),
        route!(GET "/livez" host::livez, Health, "Whether the process lives", 200 Text("text/plain; charset=utf-8")),
        route!(GET "/readyz" host::readyz, Health, "Whether changes are accepted, and why not", 200 One(of::<host::Ready>())),
        route!(GET "/metrics" host::metrics, Health, "Counters for Prometheus", 200 Text("text/plain; version=0.0.4; charset=utf-8")),
        route!(GET "/api/openapi.json" host::openapi, Read, "This document", 200 Text("application/json")),
        route!(GET "/api/docs" host::docs, Read, "This document as a page", 200 Text(html)),
        route!(GET "/problems/{name}" host::problem_page, Read, "What a problem means", 200 Text(html)),
    ]
}
