CREATE OR REPLACE TABLE FUNCTION `${views}.sessions_as_of`(moment TIMESTAMP)
OPTIONS(description="The newest revision of every session and profile whose last request was before a moment.")
AS
SELECT
  *
FROM `${dataset}.session_scores`
WHERE
  session_end <= moment
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1
