WITH newest AS (
  SELECT
    *
  FROM `${dataset}.session_scores`
  WHERE
    TRUE
  QUALIFY
    ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1
)
SELECT
  inner_row.*
FROM newest AS inner_row
LEFT JOIN newest AS outer_row
  ON outer_row.level = inner_row.level
  AND outer_row.key_kind = inner_row.key_kind
  AND outer_row.key = inner_row.key
  AND outer_row.session_id <> inner_row.session_id
  AND outer_row.revision > inner_row.revision
  AND outer_row.session_start <= inner_row.session_start
  AND outer_row.session_end >= inner_row.session_end
WHERE
  outer_row.session_id IS NULL
