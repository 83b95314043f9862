SELECT
  *
FROM `${dataset}.session_scores`
WHERE
  session_end <= moment
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1
