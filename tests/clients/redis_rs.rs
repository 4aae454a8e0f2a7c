//! redis-rs over strata: typed values, pipelines, transactions, messages, and one connection that many tasks share.
//!
//! usage: redis-rs PORT

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{AsyncCommands, Client, Commands, Connection, RedisError, cmd, pipe, transaction};

type Outcome = Result<(), Box<dyn Error>>;

const TASKS: u64 = 20;
const ROUNDS: u64 = 50;

fn values(connection: &mut Connection) -> Outcome {
    let () = connection.set("text", "täxt")?;
    for _ in 0..3 {
        assert_eq!(connection.get::<_, String>("text")?, "täxt");
        assert_eq!(connection.get::<_, Option<String>>("nothing")?, None);
    }
    assert_eq!(connection.incr::<_, _, i64>("number", 5)?, 5);
    assert_eq!(connection.get::<_, u8>("number")?, 5);
    assert_eq!(
        connection.mget::<_, (String, Option<i64>, i64)>(&["text", "nothing", "number"])?,
        ("täxt".into(), None, 5)
    );
    assert!(connection.hset_multiple::<_, _, _, bool>("hash", &[("a", 1), ("b", 2)])?);
    let found: HashMap<String, i64> = connection.hgetall("hash")?;
    assert_eq!(found, HashMap::from([("a".into(), 1), ("b".into(), 2)]));
    assert_eq!(connection.zadd_multiple::<_, _, _, i64>("zset", &[(1.5, "one"), (2.0, "two")])?, 2);
    let found: Vec<(String, f64)> = connection.zrange_withscores("zset", 0, -1)?;
    assert_eq!(found, [("one".into(), 1.5), ("two".into(), 2.0)]);
    let names: Vec<String> = connection.scan_match::<_, String>("te*")?.collect::<Result<_, _>>()?;
    assert_eq!(names, ["text"]);
    let error = connection.lpush::<_, _, i64>("text", 1).err();
    assert_eq!(error.as_ref().and_then(RedisError::code), Some("WRONGTYPE"));
    assert_eq!(
        cmd("EVAL").arg("return {1, KEYS[1]}").arg(1).arg("k").query::<(i64, String)>(connection)?,
        (1, "k".into())
    );
    Ok(())
}

fn together(connection: &mut Connection) -> Outcome {
    let mut pipeline = pipe();
    for n in 0..100 {
        pipeline.set(format!("p:{n}"), n).ignore().get(format!("p:{n}"));
    }
    assert_eq!(pipeline.query::<Vec<i64>>(connection)?, (0..100).collect::<Vec<_>>());
    let (one, two): (i64, i64) = pipe().atomic().incr("a", 1).incr("a", 1).query(connection)?;
    assert_eq!((one, two), (1, 2));
    Ok(())
}

/// Threads add to one number under WATCH, and nothing is lost.
fn watched(client: &Client) -> Outcome {
    let work = |mut connection: Connection| {
        for _ in 0..ROUNDS {
            let () = transaction(&mut connection, &["sum"], |connection, pipeline| {
                let sum: Option<u64> = connection.get("sum")?;
                pipeline.set("sum", sum.unwrap_or(0) + 1).ignore().query(connection)
            })?;
        }
        Ok::<_, RedisError>(())
    };
    std::thread::scope(|scope| -> Outcome {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| work(client.get_connection()?))).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })?;
    assert_eq!(client.get_connection()?.get::<_, u64>("sum")?, 4 * ROUNDS);
    Ok(())
}

fn messages(client: &Client) -> Outcome {
    let (mut one, mut other) = (client.get_connection()?, client.get_connection()?);
    one.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut subscriber = one.as_pubsub();
    subscriber.subscribe("news")?;
    subscriber.psubscribe("ne*")?;
    for n in 0..10 {
        assert_eq!(other.publish::<_, _, i64>("news", n)?, 2);
        for _ in 0..2 {
            assert_eq!(subscriber.get_message()?.get_payload::<i64>()?, n);
        }
    }
    Ok(())
}

fn waits(client: &Client) -> Outcome {
    let (mut one, mut other) = (client.get_connection()?, client.get_connection()?);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || one.blpop::<_, Option<(String, i64)>>("queue", 10.0));
        std::thread::sleep(Duration::from_millis(50));
        let () = other.rpush("queue", 7)?;
        let popped = waiting.join().map_err(|_| "a thread panicked")??;
        assert_eq!(popped, Some(("queue".into(), 7)));
        assert_eq!(other.blpop::<_, Option<(String, i64)>>("queue", 0.05)?, None);
        Ok(())
    })
}

/// One connection for all tasks: replies find their tasks, and every task reads its own writes.
async fn shared(connection: MultiplexedConnection) -> Outcome {
    let work = |task: u64, mut connection: MultiplexedConnection| async move {
        for round in 0..ROUNDS {
            let () = connection.set(format!("task:{task}"), round).await?;
            assert_eq!(connection.get::<_, u64>(format!("task:{task}")).await?, round);
            let () = connection.incr("rounds", 1).await?;
        }
        Ok::<_, RedisError>(())
    };
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(work(task, connection.clone()))).collect();
    for task in tasks {
        task.await??;
    }
    let mut connection = connection;
    assert_eq!(connection.get::<_, u64>("rounds").await?, TASKS * ROUNDS);
    assert_eq!(connection.del::<_, i64>(&["rounds", "sum", "a", "text", "number", "hash", "zset"]).await?, 7);
    Ok(())
}

fn main() -> Outcome {
    let port: u16 = std::env::args().nth(1).ok_or("usage: redis-rs PORT")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for protocol in ["resp2", "resp3"] {
        let client = Client::open(format!("redis://127.0.0.1:{port}/?protocol={protocol}"))?;
        let mut connection = client.get_connection()?;
        values(&mut connection)?;
        together(&mut connection)?;
        watched(&client)?;
        messages(&client)?;
        waits(&client)?;
        runtime.block_on(async { shared(client.get_multiplexed_async_connection().await?).await })?;
    }
    println!(
        "values, pipelines, {} transactions with WATCH, messages, waits, {TASKS} tasks of one connection",
        4 * ROUNDS
    );
    Ok(())
}
