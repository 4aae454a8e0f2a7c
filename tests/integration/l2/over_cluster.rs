//! L2 above a cluster: each master tells of what is its own, and what moves is not believed.

use super::{LONG, bulk, field, info, ok};
use crate::support::{Client, Cluster, Part, RedisServer, Shape, Strata, Value, slot_of, wait_until};

/// Two processes that share an L2 over a cluster.
struct Scene {
    cluster: Cluster,
    _l2: RedisServer,
    strata: [Strata; 2],
}

impl Scene {
    fn start(replicas: usize) -> Scene {
        Scene::start_over(Cluster::start_as(Shape { replicas, ..Shape::default() }))
    }

    fn start_over(cluster: Cluster) -> Scene {
        let l2 = RedisServer::start(&[]);
        let url = l2.tcp().url();
        let settings = [
            ("l2.enabled", "true"),
            ("l2.url", &*url),
            ("l2.namespace", "scene"),
            ("l2.answer_within", "10s"),
            ("l2.fill_within", "10s"),
            ("l2.connect_timeout", "20s"),
            ("l3.connect_timeout", "20s"),
            ("l1.rest", "false"),
            ("l1.ttl", "1ms"),
            // A busy machine answers its probes late.
            ("l3.lease", "5s"),
        ];
        let strata = [cluster.strata(&settings), cluster.strata(&settings)];
        let scene = Scene { cluster, _l2: l2, strata };
        scene.await_vouched();
        scene
    }

    fn await_vouched(&self) {
        for strata in &self.strata {
            assert!(wait_until(LONG, || info(strata, "state") == "up"), "L2 is not vouched for");
        }
    }

    fn client(&self, process: usize) -> Client {
        self.strata[process].connect()
    }

    /// Reads by way of a process until the reply comes from L2, and returns it.
    fn read_in_l2(&self, process: usize, key: &str) -> Value {
        let (strata, mut client) = (&self.strata[process], self.client(process));
        let mut reply = Value::Nil;
        let hit = wait_until(LONG, || {
            let before = info(strata, "hits");
            reply = client.call(&["GET", key]).unwrap();
            info(strata, "hits") != before
        });
        assert!(hit, "{key} never comes from L2");
        reply
    }

    /// Has L2 hold what home says of a key, and both processes believe it.
    fn fill(&self, key: &str) -> [Value; 2] {
        [self.read_in_l2(0, key), self.read_in_l2(1, key)]
    }

    fn at_home(&self, words: &[&str]) {
        let reply = self.cluster.connect_to(words[1]).call(words).expect("home answers");
        assert!(!reply.is_error(), "{words:?}: {reply:?}");
    }

    /// Both processes come to see this, and nothing else afterwards.
    fn sees(&self, key: &str, value: &Value) {
        for process in 0..2 {
            let mut client = self.client(process);
            let read = |client: &mut Client| client.call(&["GET", key]).unwrap();
            assert!(wait_until(LONG, || read(&mut client) == *value), "{key} by way of {process}");
            for _ in 0..50 {
                assert_eq!(read(&mut client), *value, "{key} by way of {process}");
            }
        }
    }
}

#[test]
fn copies_of_every_node_are_shared() {
    let scene = Scene::start(0);
    for node in 0..3 {
        let key = scene.cluster.key_of_node(node, "k");
        scene.at_home(&["SET", &key, "1"]);
        assert_eq!(scene.fill(&key), [bulk("1"), bulk("1")]);
        // Of another node's changes nothing follows for this one's copies.
        scene.at_home(&["SET", &scene.cluster.key_of_node((node + 1) % 3, "other"), "1"]);
        assert_eq!(scene.fill(&key), [bulk("1"), bulk("1")]);
        scene.at_home(&["SET", &key, "2"]);
        scene.sees(&key, &bulk("2"));
        assert_eq!(scene.fill(&key), [bulk("2"), bulk("2")]);
        let mut writer = scene.client(0);
        assert_eq!(writer.call(&["SET", &key, "3"]).unwrap(), ok());
        assert_eq!(scene.client(0).call(&["GET", &key]).unwrap(), bulk("3"));
        scene.sees(&key, &bulk("3"));
    }
}

/// Nobody announces what becomes of an absent key whose slot moves.
#[test]
fn copies_in_l2_end_when_their_slot_moves() {
    let scene = Scene::start(0);
    let present = scene.cluster.key_of_node(0, "k");
    let absent = format!("{{{present}}}absent");
    scene.at_home(&["SET", &present, "1"]);
    assert_eq!(scene.fill(&present), [bulk("1"), bulk("1")]);
    // It does not live long anywhere.
    let hits = || info(&scene.strata[1], "hits");
    let shared = wait_until(LONG, || {
        let before = hits();
        let read = |process| scene.client(process).call(&["GET", &absent]).unwrap();
        assert_eq!([read(0), read(1)], [Value::Nil, Value::Nil]);
        hits() != before
    });
    assert!(shared, "{absent} never comes from L2");
    let epochs = || [0, 1].map(|process| info(&scene.strata[process], "epochs"));
    let before = epochs();
    scene.cluster.move_slot(slot_of(present.as_bytes()), 1);
    // Nothing that was filled before is believed.
    let begun = wait_until(LONG, || epochs().iter().zip(&before).all(|(now, before)| now != before));
    assert!(begun, "no epoch begins when a slot moves");
    let mut home = scene.cluster.node(1).connect();
    for key in [&present, &absent] {
        assert_eq!(home.call(&["SET", key, "2"]).expect("home answers"), ok());
        scene.sees(key, &bulk("2"));
        assert_eq!(scene.fill(key), [bulk("2"), bulk("2")]);
    }
}

#[test]
fn what_a_dead_master_said_is_not_believed_of_the_next() {
    let mut scene = Scene::start(1);
    let (key, other) = (scene.cluster.key_of_node(0, "k"), scene.cluster.key_of_node(1, "k"));
    scene.at_home(&["SET", &key, "old"]);
    scene.at_home(&["SET", &other, "1"]);
    assert_eq!(scene.fill(&key), [bulk("old"), bulk("old")]);
    scene.cluster.kill(0);
    let replica = 3;
    scene.cluster.wait_promoted(replica);
    let mut home = scene.cluster.node(replica).connect();
    assert_eq!(home.call(&["SET", &key, "new"]).expect("home answers"), ok());
    for process in 0..2 {
        // Only errors until it is found.
        let mut client = scene.client(process);
        let found = wait_until(LONG, || client.call(&["GET", &key]).is_ok_and(|reply| reply == bulk("new")));
        assert!(found, "by way of {process}");
    }
    scene.sees(&key, &bulk("new"));
    scene.await_vouched();
    assert_eq!(scene.fill(&key), [bulk("new"), bulk("new")]);
    assert_eq!(scene.fill(&other), [bulk("1"), bulk("1")]);
}

/// What one master announced to nobody is not believed, whatever the others did.
#[test]
fn coverage_of_one_master_that_was_lost_begins_an_epoch() {
    let cluster = Cluster::start_as(Shape { replicas: 0, relays: true, ..Shape::default() });
    let mut scene = Scene::start_over(cluster);
    let key = scene.cluster.key_of_node(0, "k");
    scene.at_home(&["SET", &key, "old"]);
    assert_eq!(scene.fill(&key), [bulk("old"), bulk("old")]);
    // Nobody else deletes it.
    scene.strata[0].pause();
    let guard = |scene: &Scene| field(&scene.strata[1], "guard");
    let awake = guard(&scene);
    let relay = scene.cluster.node(0).relay();
    relay.refuse(true);
    relay.cut_part(Part::Guard);
    assert!(wait_until(LONG, || guard(&scene) != awake), "the guard is still there");
    scene.at_home(&["SET", &key, "new"]);
    relay.refuse(false);
    assert!(wait_until(LONG, || guard(&scene) == awake), "the guard is not back");
    let mut client = scene.client(1);
    assert!(wait_until(LONG, || info(&scene.strata[1], "state") == "up"));
    for _ in 0..20 {
        assert_eq!(client.call(&["GET", &key]).unwrap(), bulk("new"));
    }
    assert_eq!(scene.read_in_l2(1, &key), bulk("new"));
    scene.strata[0].resume();
    scene.sees(&key, &bulk("new"));
}
