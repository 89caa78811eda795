-- One row a flight that arrived: what was known before it departed, and whether it arrived 15 minutes late or more.
--
-- * A cancelled or diverted flight has no arr_delay, so there is nothing to learn from it.
-- * dep_delay, dep_time, arr_time, air_time and tailnum are known only when the flight has left, so they stay out.
-- * A weather row is observed up to minute 51 of its hour. Only the hour before the scheduled one is surely known when the
--   flight is due; the row of the same hour would tell a 5:15 departure of the rain at 5:51.
-- * Both files give time_hour as an instant (UTC), which is unique per airport. Local year, month, day and hour are not: the
--   hour that is set back in autumn is there twice.
-- * flight_date is the local date, by which the splits are made; the instant would put the evening of 30 September, New York
--   time, into October.
-- * ORDER BY makes the rows come in one order whatever the number of threads: the order is a part of what the data is.
SELECT
    make_date(f.year, f.month, f.day)                        AS flight_date,
    isodow(make_date(f.year, f.month, f.day))                AS weekday,
    f.sched_dep_time                                         AS sched_dep_time,
    f.sched_arr_time                                         AS sched_arr_time,
    f.carrier                                                AS carrier,
    f.origin                                                 AS origin,
    f.dest                                                   AS dest,
    f.distance                                               AS distance,
    o.lat                                                    AS origin_lat,
    o.lon                                                    AS origin_lon,
    d.lat                                                    AS dest_lat,
    d.lon                                                    AS dest_lon,
    w.temp                                                   AS temp,
    w.dewp                                                   AS dewp,
    w.humid                                                  AS humid,
    w.wind_dir                                               AS wind_dir,
    w.wind_speed                                             AS wind_speed,
    w.wind_gust                                              AS wind_gust,
    w.precip                                                 AS precip,
    w.pressure                                               AS pressure,
    w.visib                                                  AS visib,
    CAST(f.arr_delay >= 15 AS BIGINT)                        AS late
FROM flights AS f
LEFT JOIN airports AS o ON o.faa = f.origin
LEFT JOIN airports AS d ON d.faa = f.dest
LEFT JOIN weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour - INTERVAL 1 HOUR
WHERE f.arr_delay IS NOT NULL
ORDER BY f.time_hour, f.minute, f.origin, f.carrier, f.flight
