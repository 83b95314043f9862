SELECT
  *
FROM `${dataset}.alerts`
WHERE
  TRUE
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY revision DESC) = 1
