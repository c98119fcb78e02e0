"""Room for history: what is kept for hours, days and years lies apart.

- reports, events and samples have a table each, in the order in which they came, so that the oldest are
  found without a search. `at_s` is the moment that a message belongs to (fleet/timing.py);
- `uncounted` names the reports that were there before there were sums: the server adds them when it starts
  (fleet/adapters/earlier_reports.py);
- `pending` are the arrivals above a gap, which outlive their reports;
- `rollup` holds sums: of a device (`scope`) or of the fleet (empty), of a release, over `resolution_s`
  seconds from `start_s`, or over all time (0 and 0: what was the table `total`). An hour of a device that
  is `folded` is in its day and in all time as well;
- `gone` are devices that a person removed, until nothing of them stands on the broker;
- `vitals` are a device's hours: how many values, their sum, the lowest and the highest.
"""

from __future__ import annotations

from fleet.migrations.statements import run

revision = "0002"
down_revision = "0001"

_SCHEMA = """
alter table report rename to report_0001;
create table report (
    id integer primary key,
    device text not null,
    boot text not null,
    sequence integer not null,
    time_s real not null,
    received_s real not null,
    at_s real not null,
    body blob not null
);
create index report_device on report (device, at_s);
create table event (
    id integer primary key,
    device text not null,
    boot text not null,
    sequence integer not null,
    time_s real not null,
    received_s real not null,
    at_s real not null,
    body blob not null
);
create index event_device on event (device, id);
create table sample (
    id integer primary key,
    device text not null,
    boot text not null,
    sequence integer not null,
    time_s real not null,
    received_s real not null,
    at_s real not null,
    body blob not null,
    release text not null
);
create index sample_device on sample (device, id);
create index sample_release on sample (release, id);
create table pending (
    device text not null,
    stream text not null,
    boot text not null,
    sequence integer not null,
    primary key (device, stream, boot, sequence)
) without rowid;
insert into report (device, boot, sequence, time_s, received_s, at_s, body)
    select device, boot, sequence, time_s, received_s,
        case when time_s <= received_s + 300 and (time_s >= 1735689600 or time_s >= received_s - 300)
        then time_s else received_s end, body
    from report_0001 where stream = 'telemetry' order by received_s, sequence;
insert into event (device, boot, sequence, time_s, received_s, at_s, body)
    select device, boot, sequence, time_s, received_s,
        case when time_s <= received_s + 300 and (time_s >= 1735689600 or time_s >= received_s - 300)
        then time_s else received_s end, body
    from report_0001 where stream = 'event' order by received_s, sequence;
insert into sample (device, boot, sequence, time_s, received_s, at_s, body, release)
    select device, boot, sequence, time_s, received_s,
        case when time_s <= received_s + 300 and (time_s >= 1735689600 or time_s >= received_s - 300)
        then time_s else received_s end, body, json_extract(cast(body as text), '$.release')
    from report_0001 where stream = 'samples' order by received_s, sequence;
create table uncounted (
    next_id integer not null,
    last_id integer not null
);
insert into uncounted select 1, max(id) from report having count(*) > 0;
insert into pending select r.device, r.stream, r.boot, r.sequence
    from report_0001 r join mark m using (device, stream, boot) where r.sequence > m.sequence;
drop table report_0001;
alter table mark add column removed integer not null default 0;
create table rollup (
    id integer primary key,
    scope text not null,
    release text not null,
    resolution_s integer not null,
    start_s integer not null,
    reports integer not null,
    left_out integer not null,
    folded integer not null,
    body blob not null
);
create unique index rollup_slot on rollup (scope, resolution_s, start_s, release);
create index rollup_release on rollup (release, resolution_s, start_s);
create index rollup_open on rollup (scope, release) where folded = 0;
create index rollup_all_time on rollup (scope, release) where resolution_s = 0;
insert into rollup (scope, release, resolution_s, start_s, reports, left_out, folded, body)
    select device, release, 0, 0, 0, 0, 1, cast(json_object(
        'release', release, 'inferences', inferences, 'errors', errors,
        'latency_us', json(cast(latency_us as text)), 'labelled', labelled, 'correct', correct,
        'total', inferences) as blob) from total;
drop table total;
create table vitals (
    device text not null,
    start_s integer not null,
    cpu_n integer not null, cpu_sum real not null, cpu_low real not null, cpu_high real not null,
    rss_n integer not null, rss_sum real not null, rss_low real not null, rss_high real not null,
    heat_n integer not null, heat_sum real not null, heat_low real, heat_high real,
    slow_n integer not null, slow_sum real not null, slow_low real, slow_high real,
    primary key (device, start_s)
) without rowid;
alter table refusal rename to refusal_0001;
create table refusal (
    device text not null,
    kind text not null,
    count integer not null,
    last_s real not null,
    primary key (device, kind)
) without rowid;
insert into refusal select '', kind, count, 0 from refusal_0001;
drop table refusal_0001;
create table gone (
    device text primary key,
    asked_s real not null,
    erased integer not null
) without rowid;
create table flag (
    device text not null,
    kind text not null,
    count integer not null,
    last_s real not null,
    primary key (device, kind)
) without rowid;
"""


def upgrade() -> None:
    run(_SCHEMA)
