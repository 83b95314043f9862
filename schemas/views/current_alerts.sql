-- The newest revision of every alert.
--
-- = alerts
SELECT * FROM alerts
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY revision DESC) = 1
