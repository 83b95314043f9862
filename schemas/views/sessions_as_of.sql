-- The newest revision of every session and profile whose last request was before a moment.
--
-- ? moment TIMESTAMP: event time of the last request, at the latest
-- = session_scores
SELECT * FROM session_scores
WHERE session_end <= moment
QUALIFY ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY revision DESC) = 1
