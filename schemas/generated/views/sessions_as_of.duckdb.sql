CREATE OR REPLACE MACRO "sessions_as_of"(moment) AS TABLE
SELECT
  *
FROM session_scores
WHERE
  session_end <= (
    CASE
      WHEN TYPEOF(moment) = 'TIMESTAMP'
      THEN TIMEZONE('UTC', CAST(moment AS TIMESTAMP))
      ELSE CAST(moment AS TIMESTAMPTZ)
    END
  )
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1;
COMMENT ON MACRO TABLE "sessions_as_of" IS 'The newest revision of every session and profile whose last request was before a moment.';
