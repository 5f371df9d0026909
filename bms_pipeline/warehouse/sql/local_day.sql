-- On which day does a stamp of BMS fall, in the tenant's time zone where that is known?
-- A stamp without a time of day is that day everywhere. .NET's zero, 0001-01-01, is no date [G].
CREATE OR REPLACE TEMP MACRO local_day(stamp) AS (
    CASE
        WHEN NOT regexp_full_match(stamp, '\d{{4}}-\d{{2}}-\d{{2}}T.*') THEN stamp
        WHEN starts_with(stamp, '0001-01-01') THEN NULL
        WHEN {is_known} AND NOT regexp_matches(stamp, 'T00:00(:00(\.0+)?)?(Z|[+-]\d{{2}}:?\d{{2}})?$')
             AND ({is_utc} OR regexp_matches(stamp, '(Z|[+-]\d{{2}}:?\d{{2}})$'))
            THEN coalesce(
                strftime(
                    timezone(
                        {zone},
                        try_cast(
                            CASE
                                WHEN regexp_matches(stamp, '(Z|[+-]\d{{2}}:?\d{{2}})$') THEN stamp
                                ELSE concat(stamp, 'Z')
                            END AS timestamptz
                        )
                    ),
                    '%Y-%m-%d'
                ),
                left(stamp, 10)
            )
        ELSE left(stamp, 10)
    END
)
