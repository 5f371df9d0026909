-- What does the plan do to each field of each record, in rows for a spreadsheet? A record without changes has one row.
WITH record AS (
         SELECT *, list_concat(
                    list_transform(changes, lambda e: struct_pack(
                        field := e.field, before := e.before, after := e.after,
                        kept := NULL::VARCHAR, refused := NULL::VARCHAR
                    )),
                    list_transform(kept, lambda e: struct_pack(
                        field := e.field, before := NULL::VARCHAR, after := NULL::VARCHAR,
                        kept := e.passportal, refused := e.bms
                    )),
                    list_transform(no_place, lambda e: struct_pack(
                        field := e.field, before := NULL::VARCHAR, after := NULL::VARCHAR,
                        kept := NULL::VARCHAR, refused := e.bms
                    )),
                    list_transform(unlinked, lambda e: struct_pack(
                        field := e.field, before := NULL::VARCHAR, after := NULL::VARCHAR,
                        kept := NULL::VARCHAR, refused := concat_ws(' ', e.reason, e.bms)
                    ))
                ) AS found
         FROM sync.operations
         WHERE {wanted}
     ),
     line AS (
         SELECT * EXCLUDE (found, changes), unnest(found) AS change, unnest(range(len(found))) AS position
         FROM record WHERE len(found) > 0
         UNION ALL BY NAME
         SELECT * EXCLUDE (found, changes) FROM record WHERE coalesce(len(found), 0) = 0
     )
SELECT line.entity AS "{first_heading}", line.bms_id, line.account_id AS client_bms_id,
       {client} AS client, {name} AS name, line.disposition, line.operation, line.reason,
       {passportal_id} AS passportal_id, change.field AS field, {before} AS before, {after} AS after,
       {kept} AS kept_in_passportal, {refused} AS not_written
FROM line
LEFT JOIN bms.clients c ON c.bms_id = line.account_id
ORDER BY line.account_id NULLS FIRST,
         list_position(['clients', 'users', 'locations', 'contacts', 'assets'], line.entity), line.bms_id, line.position
