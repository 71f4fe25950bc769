//! Jobs: what becomes of their pods when they come, grow, shrink and go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use model::event::Finish;
use model::{JobKind, JobSpec};

use crate::effect::{Effect, Key, Output};
use crate::engine::Engine;
use crate::error::EventError;
use crate::pods::{FINISHED_JOBS_MAX, Job};

impl Engine {
    /// Keeps the list of finished jobs within its bound.
    pub(crate) fn forget_jobs(&mut self, out: &mut Output) {
        while self.pods.finished_jobs.len() > FINISHED_JOBS_MAX
            && let Some(id) = self.pods.finished_jobs.pop_front()
        {
            // A job of the same id may have come since, and run.
            let idle = self.pods.jobs.get(&id).is_some_and(|j| j.pods.is_empty());
            if idle {
                self.pods.jobs.remove(&id);
                out.changed.push(Key::Job(Arc::from(id.as_str())));
            }
        }
    }

    pub(crate) fn check_job(&self, job: &JobSpec) -> Result<(), EventError> {
        if !model::node::is_name(&job.id) || job.id.len() > 240 {
            return Err(EventError::JobName(job.id.clone()));
        }
        if self.pods.jobs.contains_key(&job.id) {
            return Err(EventError::DuplicateJob(job.id.clone()));
        }
        if job.replicas > model::job::REPLICAS_MAX {
            return Err(EventError::TooManyReplicas(job.replicas));
        }
        crate::gang::check(job)?;
        self.check_entry(job)?;
        if self.waiting() + job.replicas as usize > self.config.pending_max {
            return Err(EventError::QueueFull(self.config.pending_max));
        }
        for i in 0..job.replicas {
            let pod = job.pod(i);
            if i == 0 {
                pod.validate()?;
            }
            if self.pods.slot(&pod.name).is_some() {
                return Err(EventError::DuplicatePod(pod.name));
            }
        }
        Ok(())
    }

    pub(crate) fn submit_job(
        &mut self,
        job: JobSpec,
        patches: Vec<model::admission::Patch>,
        out: &mut Output,
    ) {
        let (id, replicas) = (job.id.clone(), job.replicas);
        out.changed.push(Key::Job(Arc::from(id.as_str())));
        self.pods.jobs.insert(
            id.clone(),
            Job {
                spec: Arc::new(job),
                submitted_ms: self.now_ms,
                pods: std::collections::BTreeSet::new(),
                succeeded: 0,
                failed: 0,
                next_index: 0,
                patches,
                attempts: 0,
                started_ms: None,
                tried: None,
            },
        );
        self.watch_gang(&id);
        for _ in 0..replicas {
            self.add_replica(&id, out);
        }
        let empty = self.pods.jobs.get(&id);
        if empty.is_some_and(|j| j.pods.is_empty() && j.spec.kind == JobKind::Batch) {
            // Nothing to do is done.
            self.pods.finished_jobs.push_back(id);
            self.forget_jobs(out);
        }
    }

    pub(crate) fn add_replica(&mut self, id: &str, out: &mut Output) {
        // A pod from elsewhere may have taken the name since; the next index is free.
        while let Some(job) = self.pods.jobs.get_mut(id) {
            let spec = job.spec.pod(job.next_index);
            job.next_index += 1;
            if self.pods.slot(&spec.name).is_none() {
                self.submit(spec, out);
                return;
            }
        }
    }

    pub(crate) fn scale_job(
        &mut self,
        id: &str,
        replicas: u32,
        out: &mut Output,
    ) -> Result<(), EventError> {
        let job = self
            .pods
            .jobs
            .get_mut(id)
            .ok_or_else(|| EventError::UnknownJob(id.to_owned()))?;
        if job.spec.kind != JobKind::Service {
            return Err(EventError::NotAService(id.to_owned()));
        }
        if job.spec.gang.is_some() {
            return Err(EventError::Gang {
                job: id.to_owned(),
                problem: "the counts of its roles are its size; submit it anew with others"
                    .to_owned(),
            });
        }
        if replicas > model::job::REPLICAS_MAX {
            return Err(EventError::TooManyReplicas(replicas));
        }
        let mut spec = (*job.spec).clone();
        spec.replicas = replicas;
        job.spec = Arc::new(spec);
        out.changed.push(Key::Job(Arc::from(id)));
        let have = job.pods.len() as u32;
        for _ in have..replicas {
            self.add_replica(id, out);
        }
        for slot in self.surplus(id, have.saturating_sub(replicas) as usize) {
            self.stop(slot, out);
        }
        Ok(())
    }

    /// Who leaves when a service shrinks: pods that wait, then those on the node
    /// and in the zone with most of their peers, so that the spread survives;
    /// youngest first among equals.
    pub(crate) fn surplus(&self, id: &str, count: usize) -> Vec<u32> {
        let Some(job) = self.pods.jobs.get(id) else {
            return Vec::new();
        };
        let (mut gone, mut groups) = (Vec::new(), BTreeMap::<(i32, u32), Vec<u32>>::new());
        let mut in_zone = BTreeMap::<i32, usize>::new();
        for slot in &job.pods {
            match self.pods.get(*slot).at {
                None => gone.push(*slot),
                Some(at) => {
                    let zone = self.nodes.zone[at.row as usize];
                    groups.entry((zone, at.row)).or_default().push(*slot);
                    *in_zone.entry(zone).or_insert(0) += 1;
                }
            }
        }
        let arrival = |slot: &u32| self.pods.get(*slot).arrival;
        gone.sort_by_key(|slot| Reverse(arrival(slot)));
        // Counts only fall, so a group whose key is out of date is put back
        // further down: n log n instead of a look at everybody for each victim.
        let key = |zone: i32, pods: &[u32], in_zone: &BTreeMap<i32, usize>| {
            (in_zone[&zone], pods.len(), pods.last().map_or(0, arrival))
        };
        let mut heap = BinaryHeap::new();
        for ((zone, row), pods) in &mut groups {
            pods.sort_by_key(arrival);
            heap.push((key(*zone, pods, &in_zone), *zone, *row));
        }
        while gone.len() < count
            && let Some((then, zone, row)) = heap.pop()
        {
            let Some(pods) = groups.get_mut(&(zone, row)) else {
                continue;
            };
            let now = key(zone, pods, &in_zone);
            if now == then
                && let Some(slot) = pods.pop()
            {
                gone.push(slot);
                *in_zone.entry(zone).or_insert(1) -= 1;
            }
            if !pods.is_empty() {
                heap.push((key(zone, pods, &in_zone), zone, row));
            }
        }
        gone.truncate(count);
        gone
    }

    pub(crate) fn stop(&mut self, slot: u32, out: &mut Output) {
        let pod = self.pods.get(slot);
        if let Some(at) = pod.at {
            out.effects.push(Effect::Stop {
                pod: Arc::clone(&pod.name),
                node: Arc::clone(&self.nodes.names[at.row as usize]),
            });
        }
        self.finish(slot, Finish::Deleted, out);
    }

    pub(crate) fn delete_job(&mut self, id: &str, out: &mut Output) -> Result<(), EventError> {
        let job = self
            .pods
            .jobs
            .get(id)
            .ok_or_else(|| EventError::UnknownJob(id.to_owned()))?;
        let mut pods: Vec<u32> = job.pods.iter().copied().collect();
        // Slots differ after a restart; arrival numbers do not.
        pods.sort_by_key(|slot| self.pods.get(*slot).arrival);
        self.gang_is_ending(id, true);
        for slot in pods {
            self.stop(slot, out);
        }
        self.gang_is_ending(id, false);
        self.pods.jobs.remove(id);
        out.changed.push(Key::Job(Arc::from(id)));
        Ok(())
    }
}
